"""Agents, functions and prompts of Semantic Kernel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
from openai import AsyncOpenAI
from opentelemetry.trace import INVALID_SPAN, get_current_span
from semantic_kernel import Kernel
from semantic_kernel.agents import ChatCompletionAgent, ChatHistoryAgentThread
from semantic_kernel.agents.orchestration.handoffs import HandoffOrchestration, OrchestrationHandoffs
from semantic_kernel.agents.runtime import InProcessRuntime
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion
from semantic_kernel.contents import ChatMessageContent
from semantic_kernel.functions import KernelArguments, KernelPlugin, kernel_function
from semantic_kernel.utils.telemetry.agent_diagnostics import decorators as agent_spans
from semantic_kernel.utils.telemetry.model_diagnostics import decorators as model_spans
from semantic_kernel.utils.telemetry.model_diagnostics import function_tracer as function_spans

import pandaprobe_otel
from agent_traces import SentTraces
from framework_cases import CONFORMANCE, AgentApp, StartModel, instrumented_with
from pandaprobe_otel.demo.scripted_endpoint import Reply, ScriptedEndpoint, ToolCall, text_of
from weather_model import weather as look_up
from weather_model import weather_model as any_weather_model

Ask = Callable[..., Awaitable[str]]
# Semantic Kernel does not close its clients' connections; the garbage collector finds them while any code runs.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


def weather_model(messages: Any) -> Reply:
    """A model script that calls the function by Semantic Kernel's name for it."""
    reply = any_weather_model(messages)
    return replace(reply, tool_calls=tuple(replace(call, name="Station-weather") for call in reply.tool_calls))


def openai(endpoint: ScriptedEndpoint) -> OpenAIChatCompletion:
    """A service whose client has its own instrumentation."""
    client = AsyncOpenAI(base_url=endpoint.base_url, api_key="any", max_retries=0)
    return OpenAIChatCompletion(ai_model_id="gpt-5-mini", async_client=client)


@cache
def plugin_of(function: Any) -> KernelPlugin:
    """Return a plugin, made once: OpenTelemetry keeps the instruments of every function of Semantic Kernel."""
    return KernelPlugin(name="Station", functions=[kernel_function(function)])


def forecaster(endpoint: ScriptedEndpoint, function: Any = look_up, **options: Any) -> ChatCompletionAgent:
    """An agent that knows the weather."""
    given = {"name": "forecaster", "service": openai(endpoint), "instructions": "You know weather."}
    return ChatCompletionAgent(**given, plugins=[plugin_of(function)], **options)


async def awaited(agent: ChatCompletionAgent, task: Any, **options: Any) -> str:
    """Return the answer."""
    return str(await agent.get_response(task, **options))


async def invoked(agent: ChatCompletionAgent, task: Any, **options: Any) -> str:
    """Return the answer, read message by message."""
    return "".join([str(item) async for item in agent.invoke(task, **options)])


async def streamed(agent: ChatCompletionAgent, task: Any, **options: Any) -> str:
    """Return the answer, read piece by piece."""
    return "".join([str(item) async for item in agent.invoke_stream(messages=task, **options)])


def run_as(ask: Ask) -> Any:
    """Return the runs of an agent with this tool."""

    async def run(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
        agent = forecaster(endpoint, function)
        try:
            await ask(agent, question)
        finally:  # a client that the garbage collector finds is closed in the thread of the local server, unsafely
            await agent.service.client.close()

    return run


async def leave(endpoint: ScriptedEndpoint) -> None:
    """Stop reading a streamed run after its first text."""
    async for piece in forecaster(endpoint).invoke_stream("Hi"):
        if str(piece):
            break


APP = AgentApp(
    run=run_as(awaited),
    ways=[run_as(invoked), run_as(streamed)],
    leaves=[leave],
    script=weather_model,
    name="semantic_kernel",
    package="semantic_kernel",
    tree="""
        trace forecaster | COMPLETED | session SESSION | Weather in Łódź? > The station says: sunny
        AGENT forecaster | u > a
          LLM chat gpt-5-mini @gpt-5-mini | su > c
          TOOL Station-weather | {"city":"Łódź"} > "sunny"
          LLM chat gpt-5-mini @gpt-5-mini | suct > a
    """,
    tool="Station-weather",
)
ways = pytest.mark.parametrize("ask", [awaited, invoked, streamed])


@CONFORMANCE
def test_conformance(check: Any, traces: SentTraces, model: StartModel) -> None:
    """Semantic Kernel's agents are recorded as those of every framework."""
    check(APP, traces, model)


@ways
async def test_its_own_spans_are_not_doubled(
    ask: Ask, traces: SentTraces, model: StartModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Agents, functions and model calls are one span each, also if Semantic Kernel makes spans of its own."""
    turn_on_diagnostics(monkeypatch)
    await ask(forecaster(model(weather_model)), "Weather in Oslo?")

    trace = traces.one()
    assert [span["kind"] for span in trace.spans] == ["AGENT", "LLM", "TOOL", "LLM"]
    assert {span["metadata"]["scope"] for span in trace.all("LLM")} == {model_spans.__name__}


@ways
async def test_turns_of_a_thread_are_one_session(ask: Ask, traces: SentTraces, model: StartModel) -> None:
    """The thread's id, made by its first turn, is the session of all its turns; the app's own session wins."""
    agent, thread = forecaster(model(weather_model)), ChatHistoryAgentThread()
    await ask(agent, "Hi", thread=thread)
    await ask(agent, [ChatMessageContent(role="user", content="Thanks")], thread=thread)
    with pandaprobe_otel.context(session="mine", user="me"):
        await ask(agent, "Bye", thread=thread)

    first, second, third = traces.new(3)
    assert first.body["session_id"] == second.body["session_id"] == thread.id
    assert (third.body["session_id"], third.body["user_id"]) == ("mine", "me")
    assert "Thanks" in str(second.root["input"])


async def test_an_agent_that_is_a_plugin(traces: SentTraces, model: StartModel) -> None:
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

    assert await streamed(leader, "How is it?", thread=thread) == "Snow, they say."
    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    member = trace.only("AGENT", "forecaster")
    assert [span["name"] for span in trace.above(member)] == ["forecaster-forecaster", "leader"]
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

    def keep(message: ChatMessageContent) -> None:
        if message.name == "forecaster" and str(message):
            answers.append(str(message))

    def no_more() -> ChatMessageContent:
        answered.set()
        return ChatMessageContent(role="user", content="Bye")

    orchestration = HandoffOrchestration(
        members=[doorman, expert], handoffs=handoffs, agent_response_callback=keep, human_response_function=no_more
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


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_prompt_of_the_app(streaming: bool, traces: SentTraces, model: StartModel) -> None:
    """A prompt function is a CHAIN span with its model call; its input has only the arguments that the prompt uses."""
    endpoint = model(weather_model)
    kernel = Kernel(services=[openai(endpoint)])
    greet = kernel.add_function(plugin_name="Texts", function_name="greet", prompt="Greet {{$name}}")
    arguments = KernelArguments(name="Ann", other="no")
    if streaming:
        assert [piece async for piece in kernel.invoke_stream(greet, arguments)]
    else:
        await kernel.invoke(greet, arguments)

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert [(span["kind"], span["name"]) for span in trace.spans] == [
        ("CHAIN", "Texts-greet"),
        ("LLM", "chat gpt-5-mini"),
    ]
    assert ("Ann" in str(trace.root["input"]), "no" in str(trace.root["input"])) == (True, False)
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
@pytest.mark.parametrize("closes", [False, True])
@pytest.mark.parametrize("way", ["invoke", "invoke_stream"])
def test_a_run_that_the_app_drops(
    way: str, closes: bool, native: bool, traces: SentTraces, model: StartModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is read no further is not current; its spans end when the app closes it, or with the event loop."""
    if native:
        turn_on_diagnostics(monkeypatch)
    kept: list[Any] = []

    async def run() -> None:
        kept.append(getattr(forecaster(model(weather_model)), way)("Weather in Oslo?"))
        await anext(kept[0])
        assert get_current_span() is INVALID_SPAN
        with pandaprobe_otel.span("app"):
            await asyncio.sleep(0)
        if closes:
            await kept[0].aclose()
            assert get_current_span() is INVALID_SPAN

    asyncio.run(run())
    dropped, app = traces.new(2)
    assert [span["name"] for span in dropped.spans if "ended_at" not in span] == []
    assert (dropped.root["name"], [span["name"] for span in app.spans]) == ("forecaster", ["app"])
    assert "ERROR" not in (dropped.root["status"], dropped.body["status"])


async def test_without_content(traces: SentTraces, model: StartModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `capture_content=False`, spans have no content or exception texts, even with diagnostics turned on."""
    turn_on_diagnostics(monkeypatch, models=False)
    with instrumented_with("semantic_kernel", capture_content=False):
        await streamed(forecaster(model(weather_model)), "Weather in Atlantis?")
        trace = traces.one()

    assert trace.only("TOOL")["status"] == "ERROR"
    for span in (*trace.all("AGENT"), *trace.all("TOOL")):
        own = {key: value for key, value in span.items() if f"{key}_from" not in span["metadata"]}  # not the model's
        assert "Atlantis" not in str(own)


def turn_on_diagnostics(monkeypatch: pytest.MonkeyPatch, *, models: bool = True) -> None:
    """Set what Semantic Kernel reads from environment variables at its import."""
    for module in (agent_spans, function_spans, *([model_spans] if models else [])):
        monkeypatch.setattr(module.MODEL_DIAGNOSTICS_SETTINGS, "enable_otel_diagnostics_sensitive", True)


@dataclass
class Found:
    """The result of a function of the app."""

    place: str
    notes: list[str]


async def test_values_of_the_apps_own_are_recorded(traces: SentTraces) -> None:
    """A data class is recorded by its fields, and arguments without a parameter are recorded beside the input."""

    @kernel_function
    def look_up(city: str) -> Found:
        """Look a city up."""
        return Found(place=city, notes=["snow"])

    function = KernelPlugin(name="station", functions=[look_up])["look_up"]
    await Kernel().invoke(function, KernelArguments(city="Oslo", tenant="ada"))
    (span,) = traces.one().spans
    assert (span["input"], span["output"]) == ({"city": "Oslo"}, {"place": "Oslo", "notes": ["snow"]})
    assert "ada" in str(span["metadata"])
