"""Agents, functions and prompts of Semantic Kernel."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from openai import AsyncOpenAI
from opentelemetry.trace import INVALID_SPAN, get_current_span
from semantic_kernel import Kernel
from semantic_kernel.agents import ChatCompletionAgent, ChatHistoryAgentThread
from semantic_kernel.agents.orchestration.handoffs import HandoffOrchestration, OrchestrationHandoffs
from semantic_kernel.agents.runtime import InProcessRuntime
from semantic_kernel.connectors.ai.chat_completion_client_base import ChatCompletionClientBase
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion
from semantic_kernel.contents import ChatMessageContent
from semantic_kernel.exceptions import KernelInvokeException
from semantic_kernel.functions import KernelArguments, KernelFunction, KernelPlugin, kernel_function
from semantic_kernel.utils.telemetry.agent_diagnostics import decorators as agent_spans
from semantic_kernel.utils.telemetry.model_diagnostics import decorators as model_spans
from semantic_kernel.utils.telemetry.model_diagnostics import function_tracer as function_spans

import pandaprobe_otel
from agent_traces import SentTraces
from example_runs import run_example
from framework_cases import (
    CUTS,
    AgentApp,
    StartModel,
    growth,
    instrumented_with,
    off,
    parcel_talk,
    recorded_apart,
)
from pandaprobe_otel.demo.completions import Reply, ToolCall, text_of
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.mapping import map_trace
from planting import Planted
from weather_model import WEATHER
from weather_model import weather as look_up
from weather_model import weather_model as any_weather_model

Ask = Callable[..., Awaitable[str]]
# Semantic Kernel does not close its clients' connections; the garbage collector finds them while any code runs.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


class Station:
    """A plugin."""

    @kernel_function
    def weather(self, city: str) -> str:
        """Tell the weather in a city."""
        with pandaprobe_otel.span("look up"):
            return look_up(city)


class AsyncStation:
    """A plugin whose function is a coroutine."""

    @kernel_function
    async def weather(self, city: str) -> str:
        """Tell the weather in a city."""
        await asyncio.sleep(0)
        answer: str = Station().weather(city)
        return answer


def weather_model(messages: Any) -> Reply:
    """A model script that calls the function by Semantic Kernel's name for it."""
    reply = any_weather_model(messages)
    return replace(reply, tool_calls=tuple(replace(call, name="Station-weather") for call in reply.tool_calls))


def openai(endpoint: ScriptedEndpoint) -> OpenAIChatCompletion:
    """A service whose client has its own instrumentation."""
    client = AsyncOpenAI(base_url=endpoint.base_url, api_key="any", max_retries=0)
    return OpenAIChatCompletion(ai_model_id="gpt-5-mini", async_client=client)


def forecaster(endpoint: ScriptedEndpoint, station: Any = None, **options: Any) -> ChatCompletionAgent:
    """An agent that knows the weather."""
    plugin = KernelPlugin.from_object("Station", Station() if station is None else station)
    return ChatCompletionAgent(**{"name": "forecaster", "service": openai(endpoint), "plugins": [plugin], **options})


async def awaited(agent: ChatCompletionAgent, task: Any, **options: Any) -> str:
    """Return the answer."""
    return str(await agent.get_response(task, **options))


async def invoked(agent: ChatCompletionAgent, task: Any, **options: Any) -> str:
    """Return the answer, read message by message."""
    return "".join([str(item) async for item in agent.invoke(task, **options)])


async def streamed(agent: ChatCompletionAgent, task: Any, **options: Any) -> str:
    """Return the answer, read piece by piece."""
    return "".join([str(item) async for item in agent.invoke_stream(messages=task, **options)])


ways = pytest.mark.parametrize("ask", [awaited, invoked, streamed])


@ways
@pytest.mark.parametrize("station", [Station(), AsyncStation()])
async def test_a_run_is_one_tree(ask: Ask, station: Any, traces: SentTraces, model: StartModel) -> None:
    """Each model call is one LLM span, made by its client; each function call is one span below the agent."""
    endpoint = model(weather_model)
    thread = ChatHistoryAgentThread(thread_id="t-1")
    answer = await ask(forecaster(endpoint, station), "Weather in Oslo?", thread=thread)

    assert answer == "The station says: snowy"
    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert [(span["kind"], span["name"]) for span in trace.children(trace.root)] == [
        ("LLM", "chat gpt-5-mini"),
        ("TOOL", "Station-weather"),
        ("LLM", "chat gpt-5-mini"),
    ]
    assert (trace.root["kind"], trace.root["name"], trace.root["status"]) == ("AGENT", "forecaster", "OK")
    called = trace.only("TOOL", "Station-weather")
    assert (called["input"], called["output"]) == ({"city": "Oslo"}, "snowy")
    assert [span["name"] for span in trace.above(trace.only(name="look up"))] == ["Station-weather", "forecaster"]
    assert trace.body["session_id"] == "t-1"
    assert "Weather in Oslo?" in str(trace.root["input"])
    assert "The station says: snowy" in str(trace.root["output"])


@ways
async def test_turns_of_a_thread_are_one_session(ask: Ask, traces: SentTraces, model: StartModel) -> None:
    """The thread's id, created by its first turn, is the session of all its turns; the app's own session wins."""
    agent, thread = forecaster(model(weather_model)), ChatHistoryAgentThread()
    await ask(agent, "Hi", thread=thread)
    await ask(agent, [ChatMessageContent(role="user", content="Thanks")], thread=thread)
    with pandaprobe_otel.context(session="mine", user="me"):
        await ask(agent, "Bye", thread=thread)

    first, second, third = traces.new(3)
    assert first.body["session_id"] == second.body["session_id"] == thread.id
    assert (third.body["session_id"], third.body["user_id"]) == ("mine", "me")
    assert "Thanks" in str(second.root["input"])


async def test_a_thread_that_the_run_makes(traces: SentTraces, model: StartModel) -> None:
    """A thread that the first run creates is the session of both runs."""
    agent = forecaster(model(weather_model))
    first = await agent.get_response("Hi")
    await agent.get_response("Thanks", thread=first.thread)

    assert [trace.body["session_id"] for trace in traces.new(2)] == [first.thread.id] * 2


async def test_a_thread_that_is_deleted(traces: SentTraces, model: StartModel) -> None:
    """A deleted thread raises Semantic Kernel's own exception, and the run's span has status ERROR."""
    agent, thread = forecaster(model(weather_model)), ChatHistoryAgentThread()
    await agent.get_response("Hi", thread=thread)
    await thread.delete()
    with pytest.raises(RuntimeError, match="has been deleted"):
        await agent.get_response("Thanks", thread=thread)

    assert [trace.root["status"] for trace in traces.new(2)] == ["OK", "ERROR"]


@ways
async def test_an_agent_that_is_a_plugin(ask: Ask, traces: SentTraces, model: StartModel) -> None:
    """An agent used as a plugin is an AGENT span below the function call; the session is the calling agent's."""

    def script(messages: Any) -> Reply:
        if "You lead." not in text_of(messages[0]["content"]):
            return weather_model(messages)
        if messages[-1]["role"] == "tool":
            return Reply(text="Snow, they say.")
        asked = {"messages": "Weather in Oslo?"}
        return Reply(tool_calls=(ToolCall(name="forecaster-forecaster", arguments=asked),))

    endpoint = model(script)
    leader = ChatCompletionAgent(
        name="leader", instructions="You lead.", service=openai(endpoint), plugins=[forecaster(endpoint)]
    )
    thread = ChatHistoryAgentThread(thread_id="t-2")

    assert await ask(leader, "How is it?", thread=thread) == "Snow, they say."
    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    member = trace.only("AGENT", "forecaster")
    assert [span["name"] for span in trace.above(member)] == ["forecaster-forecaster", "leader"]
    assert next(span["name"] for span in trace.above(trace.only("TOOL", "Station-weather"))) == "forecaster"
    asking = trace.only("TOOL", "forecaster-forecaster")
    assert (asking["input"], asking["output"]) == ({"messages": "Weather in Oslo?"}, "The station says: snowy")
    assert trace.body["session_id"] == "t-2"


async def test_a_hand_off(traces: SentTraces, model: StartModel) -> None:
    """A hand-off in a span of the app is one trace without an error."""

    def script(messages: Any) -> Reply:
        if "You greet." not in text_of(messages[0]["content"]):
            return weather_model([message for message in messages if message["role"] != "system"])
        return Reply(tool_calls=(ToolCall(name="Handoff-transfer_to_forecaster", arguments={}),))

    endpoint = model(script)
    doorman = ChatCompletionAgent(name="doorman", instructions="You greet.", service=openai(endpoint))
    expert = forecaster(endpoint, description="Knows the weather.")
    handoffs = OrchestrationHandoffs().add("doorman", "forecaster", "It is about the weather.")
    answered, answers = asyncio.Event(), list[str]()

    def heard(message: ChatMessageContent) -> None:
        if message.name == "forecaster" and str(message):
            answers.append(str(message))

    def no_more() -> ChatMessageContent:
        answered.set()
        return ChatMessageContent(role="user", content="Bye")

    orchestration = HandoffOrchestration(
        members=[doorman, expert], handoffs=handoffs, agent_response_callback=heard, human_response_function=no_more
    )
    runtime = InProcessRuntime()
    with pandaprobe_otel.span("shop"):
        runtime.start()
        result = await orchestration.invoke("Weather in Oslo?", runtime)
        await answered.wait()
        result.cancel()
        await runtime.stop()

    assert "The station says: snowy" in answers
    trace = traces.one()
    assert {span["status"] for span in trace.spans} == {"OK"}
    assert [span["name"] for span in trace.all("AGENT")][:2] == ["doorman", "forecaster"]
    assert trace.only("TOOL", "Handoff-transfer_to_forecaster")["status"] == "OK"


@pytest.mark.parametrize("form", ["invoke", "invoke_stream"])
async def test_a_prompt_of_the_app(form: str, traces: SentTraces, model: StartModel) -> None:
    """A prompt function is a CHAIN span with its model call; its input has only the arguments that the prompt uses."""
    endpoint = model(weather_model)
    kernel = Kernel(services=[openai(endpoint)])
    greet = kernel.add_function(plugin_name="Texts", function_name="greet", prompt="Greet {{$name}}")
    arguments = KernelArguments(name="Ann", other="no")
    if form == "invoke":
        assert str(await kernel.invoke(greet, arguments)) == "You said: Greet Ann"
    else:
        assert [piece async for piece in kernel.invoke_stream(greet, arguments)]

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert (trace.root["kind"], trace.root["name"]) == ("CHAIN", "Texts-greet")
    assert [span["kind"] for span in trace.children(trace.root)] == ["LLM"]
    assert "Ann" in str(trace.root["input"])
    assert "no" not in str(trace.root["input"])
    assert "You said: Greet Ann" in str(trace.root["output"])


async def test_a_function_that_yields(traces: SentTraces) -> None:
    """A streaming function's span lasts until its result is read, and is not current between two pieces."""

    class Radio:
        @kernel_function
        async def listen(self, station: str) -> AsyncIterator[str]:
            """Listen to a station."""
            for piece in (station, " plays"):
                yield piece

    kernel = Kernel()
    radio = kernel.add_plugin(Radio(), "Radio")
    with pandaprobe_otel.span("app"):
        before = get_current_span()
        async for _ in kernel.invoke_stream(radio["listen"], KernelArguments(station="One")):
            assert get_current_span() is before

    heard = traces.one().only("TOOL", "Radio-listen")
    assert (heard["input"], heard["output"], heard["status"]) == ({"station": "One"}, "One plays", "OK")


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("way", ["invoke", "invoke_stream"])
async def test_a_run_that_the_app_drops(
    way: str, native: bool, traces: SentTraces, model: StartModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after the app closes a run early, no span of ours is current; then every span is ended."""
    if native:
        turn_on_diagnostics(monkeypatch)
    answers: Any = getattr(forecaster(model(weather_model)), way)("Weather in Oslo?")
    await anext(answers)
    assert get_current_span() is INVALID_SPAN
    with pandaprobe_otel.span("app"):
        pass
    await answers.aclose()
    assert get_current_span() is INVALID_SPAN

    run, app = traces.new(2)
    assert all("ended_at" in span for span in run.spans)
    assert (run.root["name"], app.root["name"]) == ("forecaster", "app")
    assert run.root["status"] != "ERROR"


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("way", ["invoke", "invoke_stream"])
def test_a_run_that_is_read_no_further(
    way: str, native: bool, traces: SentTraces, model: StartModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that the app neither reads on nor closes is not current, and ends with the event loop."""
    if native:
        turn_on_diagnostics(monkeypatch)
    kept: list[Any] = []

    async def run() -> None:
        kept.append(getattr(forecaster(model(weather_model)), way)("Weather in Oslo?"))
        async for _ in kept[0]:
            break
        assert get_current_span() is INVALID_SPAN
        with pandaprobe_otel.span("app"):
            await asyncio.sleep(0)

    asyncio.run(run())
    run_trace, app = traces.new(2)
    assert all("ended_at" in span for span in run_trace.spans)
    assert (run_trace.root["name"], app.root["name"]) == ("forecaster", "app")
    assert [span["name"] for span in app.spans] == ["app"]
    assert run_trace.body["status"] != "ERROR"


async def leave(endpoint: ScriptedEndpoint) -> None:
    """Stop reading a streamed run after its first text."""
    async for piece in forecaster(endpoint).invoke_stream("Hi"):
        if str(piece):
            break


@CUTS
@ways
def test_a_run_that_is_cut_short(ask: Ask, cut: Any, traces: SentTraces, model: StartModel) -> None:
    """A run that is cancelled, left or refused is one trace with the true status and outcome."""

    async def run(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
        plugin = KernelPlugin(name="Station", functions=[kernel_function(function)])
        await ask(forecaster(endpoint, plugins=[plugin]), question)

    cut(AgentApp(run=run, leave=leave, script=weather_model), traces, model)


@ways
async def test_runs_at_once_do_not_mix(ask: Ask, traces: SentTraces, model: StartModel) -> None:
    """Concurrent runs of one agent are separate traces."""
    agent = forecaster(model(weather_model))
    await asyncio.gather(
        *(
            ask(agent, f"Weather in {city}?", thread=ChatHistoryAgentThread(thread_id=f"{city} {number}"))
            for city in WEATHER
            for number in range(2)
        )
    )
    for trace in traces.new(4):
        assert len(trace.all("LLM")) == 2
        city = trace.only("TOOL", "Station-weather")["input"]["city"]
        assert city in str(trace.root["input"])
        assert trace.body["session_id"].startswith(city)


class QuietStation:
    """A plugin that makes no span itself."""

    @kernel_function
    def weather(self, city: str) -> str:
        """Tell the weather in a city."""
        return look_up(city)


QUIET: Any = KernelPlugin.from_object("Station", QuietStation())["weather"]
"""Created once, since OpenTelemetry keeps the instruments of every function that Semantic Kernel creates."""


class Echo(ChatCompletionClientBase):
    """A model without a client, which looks the weather up itself."""

    async def _inner_get_chat_message_contents(self, chat_history: Any, settings: Any) -> list[ChatMessageContent]:
        said = await Kernel().invoke(QUIET, KernelArguments(city=str(chat_history.messages[-1])))
        return [ChatMessageContent(role="assistant", content=str(said))]


@pytest.mark.usefixtures("traced")
def test_a_thousand_runs_do_not_grow(caplog: pytest.LogCaptureFixture) -> None:
    """Once the event loop has ended, no run leaves objects behind, whether it failed or was closed early."""
    caplog.set_level(logging.CRITICAL)  # pytest keeps log records, with the frames of every failure
    agent = ChatCompletionAgent(name="echo", service=Echo(ai_model_id="none"))

    async def runs(count: int) -> None:
        for number in range(count):
            answers: Any = agent.invoke("Atlantis" if number % 10 == 0 else "Oslo")
            try:
                await anext(answers)
            except KernelInvokeException:
                assert number % 10 == 0
            await answers.aclose()
            assert recorded.names == ["execute_tool Station-weather", "echo"]
            recorded.clear()

    with recorded_apart("semantic_kernel") as recorded:
        assert growth(lambda count: asyncio.run(runs(count)), 1000) < 500


async def test_without_content(traces: SentTraces, model: StartModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `capture_content=False`, spans have no content or exception texts, even with diagnostics turned on."""
    turn_on_diagnostics(monkeypatch, models=False)
    with instrumented_with("semantic_kernel", capture_content=False):
        await awaited(forecaster(model(weather_model)), "Weather in Oslo?")
        await streamed(forecaster(model(weather_model)), "Weather in Atlantis?")
        good, bad = traces.new(2)

    for span in (*good.all("AGENT"), *good.all("TOOL"), *bad.all("AGENT"), *bad.all("TOOL")):
        about = span["metadata"]
        own = {key: value for key, value in span.items() if f"{key}_from" not in about}  # not from a model's call
        for secret in ("Oslo", "snowy", "Atlantis"):
            assert secret not in str({**own, "metadata": {**about, "session": None}})
    assert bad.only("TOOL", "Station-weather")["status"] == "ERROR"


def test_taking_it_off_and_putting_it_on_again() -> None:
    """Uninstrumenting restores the library."""
    patched = [
        (ChatCompletionAgent, "get_response"),
        (ChatCompletionAgent, "invoke"),
        (ChatCompletionAgent, "invoke_stream"),
        (KernelFunction, "invoke"),
        (KernelFunction, "invoke_stream"),
        (agent_spans, "_start_as_current_span"),
        (function_spans, "start_as_current_span"),
        (ChatCompletionClientBase, "_start_auto_function_invocation_activity"),
    ]
    on = [vars(owner)[name] for owner, name in patched]
    with off("semantic_kernel"):
        plain = [vars(owner)[name] for owner, name in patched]
        assert [wrapper.__wrapped__ for wrapper in on] == plain
    assert [vars(owner)[name].__wrapped__ for owner, name in patched] == plain


async def test_off_nothing_is_ours(traces: SentTraces, model: StartModel) -> None:
    """After uninstrumenting, only Semantic Kernel and the client make spans."""
    with off("semantic_kernel"):
        await awaited(forecaster(model(weather_model)), "Weather in Oslo?")
    trace = traces.one()
    assert trace.root["name"] == "AutoFunctionInvocationLoop"
    assert [span["kind"] for span in trace.children(trace.root)] == ["LLM", "TOOL", "LLM"]
    assert "pandaprobe_otel.semantic_kernel" not in str(trace.body)


def turn_on_diagnostics(monkeypatch: pytest.MonkeyPatch, *, models: bool = True) -> None:
    """Set what Semantic Kernel reads from environment variables at its import."""
    for module in (agent_spans, function_spans, *([model_spans] if models else [])):
        monkeypatch.setattr(module.MODEL_DIAGNOSTICS_SETTINGS, "enable_otel_diagnostics_sensitive", True)


@ways
async def test_beside_its_own_spans(
    ask: Ask, traces: SentTraces, model: StartModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Semantic Kernel's diagnostics on, agents, functions and model calls are one span each."""
    turn_on_diagnostics(monkeypatch)
    await ask(forecaster(model(weather_model)), "Weather in Oslo?")

    trace = traces.one()
    assert [span["kind"] for span in trace.children(trace.root)] == ["LLM", "TOOL", "LLM"]
    assert len(trace.all("AGENT")) == len(trace.all("TOOL")) == 1
    assert {span["metadata"]["scope"] for span in trace.all("LLM")} == {model_spans.__name__}


async def test_the_example(traces: SentTraces, server: LocalServer) -> None:
    """The example, without a key, makes a function call and a streamed run in one session."""
    assert run_example("semantic_kernel_agent", server).splitlines()[-1] == "You are welcome."

    parcel_talk(traces)


@pytest.mark.parametrize("ask", [awaited, invoked, streamed])
@pytest.mark.plants(
    "ChatCompletionAgent.get_response", "ChatCompletionAgent.invoke", "ChatCompletionAgent.invoke_stream"
)
def test_what_is_planted_comes_out(ask: Ask, traces: SentTraces, model: StartModel) -> None:
    """An agent's instructions, input, function arguments, function result and answer appear in the trace."""
    planted = Planted()

    class Planting:
        """A plugin."""

        @kernel_function
        def look_up(self, city: str, unit: str) -> str:
            """Look a city up."""
            return planted.look_up(city, unit)

    endpoint = model(lambda messages: planted.script(messages, tool="Station-look_up"))
    agent = forecaster(endpoint, Planting(), instructions=planted["the instructions"] + " {{$plan}}")
    arguments = KernelArguments(plan=planted["an argument of the prompt"])

    async def run() -> None:
        await ask(agent, planted["the question"], arguments=arguments)

    asyncio.run(run())

    assert planted.missing_in(traces.one().body) == []


@dataclass
class Found:
    """The result of a function of the app."""

    place: str
    notes: list[str]


@pytest.mark.plants("KernelFunction.invoke")
def test_values_of_the_apps_own_come_out(traces: SentTraces) -> None:
    """A data class is recorded by its fields, and arguments without a parameter are recorded beside the input."""
    planted = Planted()

    class Planting:
        """A plugin."""

        @kernel_function
        def look_up(self, city: str) -> Found:
            """Look a city up."""
            return Found(place=planted["a field"], notes=[planted["an item of a field"]])

    async def run() -> None:
        kernel = Kernel()
        kernel.add_plugin(Planting(), "station")
        given = KernelArguments(city=planted["an argument"], tenant=planted["an argument for others"])
        await kernel.invoke(function_name="look_up", plugin_name="station", arguments=given)

    with recorded_apart("semantic_kernel") as recorder:
        asyncio.run(run())
    assert planted.unrecorded(recorder) == []
    assert planted.lost(recorder) == []
    (span,) = map_trace(recorder.spans)["spans"]
    assert span["input"] == {"city": planted["an argument"]}
    assert span["output"] == {"place": planted["a field"], "notes": [planted["an item of a field"]]}
