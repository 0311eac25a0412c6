"""Agents of the OpenAI Agents SDK."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import agents
import pytest
from agents import (
    Agent,
    GuardrailFunctionOutput,
    InputGuardrailTripwireTriggered,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    SQLiteSession,
    function_tool,
    input_guardrail,
)
from openai import AsyncOpenAI
from openai.types.responses import Response
from pydantic import BaseModel

import pandaprobe_otel
import replayed_frameworks as replays
from agent_traces import SentTraces
from framework_cases import CONFORMANCE, AgentApp, StartModel, left_after_a_word, off, recorded_apart
from pandaprobe_otel.demo.scripted_endpoint import Reply, ScriptedEndpoint, ToolCall
from pandaprobe_otel_integrations.openai_agents import OpenAIAgentsAdapter, RunProcessor
from planting import Planted
from weather_model import WEATHER, weather_model
from weather_model import weather as look_up

# A run that is cancelled early leaves a coroutine of the SDK, which the garbage collector finds while any code runs.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine 'run_single_turn' was never awaited:RuntimeWarning")

Way = Callable[..., Any]


@pytest.fixture(scope="module", autouse=True)
def nothing_goes_to_openai(traced: pandaprobe_otel.PandaProbe) -> None:
    """Remove the SDK's exporter as an app would; our processor stays."""
    agents.set_trace_processors([])


weather = function_tool(look_up)


def forecaster(url: str, kind: Any = OpenAIResponsesModel, model: str = "gpt-5-mini", **options: Any) -> Agent[Any]:
    """An agent that knows the weather, and whose client leaves no open connection to a closed event loop."""
    client = AsyncOpenAI(base_url=url, api_key="any", max_retries=0, default_headers={"Connection": "close"})
    given = {
        "name": "forecaster",
        "instructions": "You know weather.",
        "tools": [weather],
        "model_settings": ModelSettings(include_usage=True),
        **options,
    }
    return Agent(model=kind(model, client), **given)


def asked(endpoint: ScriptedEndpoint, function: Any, kind: Any = OpenAIResponsesModel) -> Agent[Any]:
    """An agent with this tool."""
    return forecaster(endpoint.base_url, kind, tools=[function_tool(function, failure_error_function=None)])


async def ask(endpoint: ScriptedEndpoint, question: str, *given: Any) -> None:
    """Ask an agent with this tool."""
    await Runner.run(asked(endpoint, *given), question)


def ask_sync(endpoint: ScriptedEndpoint, question: str, *given: Any) -> None:
    """Ask without an event loop."""
    Runner.run_sync(asked(endpoint, *given), question)


async def read(agent: Agent[Any], question: str, **options: Any) -> Any:
    """Read the run event by event, and return its result."""
    result = Runner.run_streamed(agent, question, **options)
    assert len([event async for event in result.stream_events()]) > 2
    return result


async def ask_streamed(endpoint: ScriptedEndpoint, question: str, *given: Any) -> None:
    """Ask an agent with this tool, and read the events."""
    await read(asked(endpoint, *given), question)


async def chat(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
    """Ask over chat completions."""
    await ask(endpoint, question, function, OpenAIChatCompletionsModel)


async def chat_events(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
    """Ask over chat completions, and read the events."""
    await ask_streamed(endpoint, question, function, OpenAIChatCompletionsModel)


async def leave(endpoint: ScriptedEndpoint, kind: Any = OpenAIResponsesModel) -> None:
    """Cancel a streamed run after its first text."""
    running = Runner.run_streamed(forecaster(endpoint.base_url, kind), "Hi")
    async for event in running.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            running.cancel()
            break
    await asyncio.gather(running.run_loop_task, return_exceptions=True)


APP = AgentApp(
    run=ask,
    ways=[ask_sync, ask_streamed, chat, chat_events],
    leaves=[leave, partial(leave, kind=OpenAIChatCompletionsModel)],
    name="openai_agents",
    package="agents",
    tree="""
        trace Agent workflow | COMPLETED | Weather in Łódź? > The station says: sunny
        AGENT Agent workflow | su > a
          AGENT forecaster | su > a
            LLM chat gpt-5-mini @gpt-5-mini | su > c
            TOOL weather | {"city":"Łódź"} > "sunny"
            LLM chat gpt-5-mini @gpt-5-mini | suct > a
    """,
    rivals={
        "openinference.instrumentation.openai_agents:OpenAIAgentsInstrumentor": "skipped: OpenInference records",
        "opentelemetry.instrumentation.openai_agents:OpenAIAgentsInstrumentor": "skipped: OpenLLMetry records",
    },
    adapter=OpenAIAgentsAdapter,
)


@CONFORMANCE
def test_conformance(check: Any, traces: SentTraces, model: StartModel) -> None:
    """The SDK's agents are recorded as those of every framework."""
    check(APP, traces, model)


def run_sync(agent: Agent[Any], question: str, **options: Any) -> Any:
    """Wait for the answer, without an event loop."""
    return Runner.run_sync(agent, question, **options)


def run(agent: Agent[Any], question: str, **options: Any) -> Any:
    """Wait for the answer in an event loop."""
    return asyncio.run(Runner.run(agent, question, **options))


def streamed(agent: Agent[Any], question: str, **options: Any) -> Any:
    """Read the run event by event."""
    return asyncio.run(read(agent, question, **options))


ways = pytest.mark.parametrize("way", [run_sync, run, streamed])
kinds = pytest.mark.parametrize("kind", [OpenAIResponsesModel, OpenAIChatCompletionsModel])


def test_the_request_that_a_response_repeats(traces: SentTraces) -> None:
    """Instructions, tools and parameters are read from the response, where OpenAI's service repeats them."""
    parts = [{"type": "output_text", "text": "Cold.", "annotations": []}]
    response = Response.model_validate(
        {
            "id": "resp_1",
            "object": "response",
            "created_at": 0,
            "status": "completed",
            "model": "gpt-5-mini",
            "instructions": "You know weather.",
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "temperature": 0.5,
            "tools": [{"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True}],
            "output": [{"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": parts}],
        }
    )
    with agents.trace("own"), agents.tracing.response_span(response) as span:
        span.span_data.input = "How is it?"

    call = traces.one().only("LLM")
    assert [each["content"] for each in call["input"]["messages"]] == ["You know weather.", "How is it?"]
    assert (call["model_parameters"]["temperature"], call["metadata"]["tools"][0]["name"]) == (0.5, "weather")


def test_a_service_that_reports_no_counts(traces: SentTraces, model: StartModel) -> None:
    """The zeros that the SDK has for a streamed answer without usage are no counts."""
    url = model(weather_model).base_url
    streamed(forecaster(url, OpenAIChatCompletionsModel, model_settings=ModelSettings()), "Hi")
    assert "token_usage" not in traces.one().only("LLM")


@kinds
@pytest.mark.parametrize("way", [run, streamed])
def test_a_refused_call_has_its_question(way: Way, kind: Any, traces: SentTraces, model: StartModel) -> None:
    """A failed call has its question, model, parameters and tools; agent and run have the question."""
    settings = ModelSettings(temperature=0.25, max_tokens=99)
    agent = forecaster(model(weather_model).base_url, kind, model_settings=settings)
    with pytest.raises(Exception, match="There is no Nowhere"):
        way(agent, "Weather in Nowhere?")

    trace = traces.one()
    assert {span["status"] for span in trace.spans} == {"ERROR"}
    call = trace.only("LLM")
    assert [each["content"] for each in call["input"]["messages"]] == ["You know weather.", "Weather in Nowhere?"]
    assert (call["model"], call["model_parameters"]["temperature"]) == ("gpt-5-mini", 0.25)
    assert (call["model_parameters"]["max_tokens"], call["metadata"]["tools"][0]["name"]) == (99, "weather")
    assert [span["input"] for span in trace.all("AGENT")] == [call["input"]] * 2
    assert trace.body["input"]["messages"][0]["content"] == "Weather in Nowhere?"


@kinds
def test_a_call_without_sensitive_data(kind: Any, traces: SentTraces, model: StartModel) -> None:
    """With `trace_include_sensitive_data` off, a model call's span, failed or not, has its model and no content."""
    agent = forecaster(model(weather_model).base_url, kind)
    for question in ("Weather in Nowhere?", "Weather in Oslo?"):
        with contextlib.suppress(Exception):
            run(agent, question, run_config=RunConfig(trace_include_sensitive_data=False))

    for trace in traces.new(2):
        assert {call["model"] for call in trace.all("LLM")} == {"gpt-5-mini"}
        assert [word for word in ("You know", "Weather in", "station") if word in str(trace.body)] == []


class Notes(SQLiteSession):
    """A session class written by the app."""


@ways
def test_sessions(way: Way, traces: SentTraces, model: StartModel) -> None:
    """The id of the SDK's session is the trace's session, unless the app or the run's `group_id` sets one."""
    talk = partial(way, forecaster(model(weather_model).base_url), "Hello")
    talk(session=SQLiteSession("s-1"))
    talk(session=Notes("s-2"))
    config = RunConfig(workflow_name="talk", group_id="g-3", trace_metadata={"team": "x"})
    talk(session=SQLiteSession("s-3"), run_config=config)
    with pandaprobe_otel.session("a-4"):
        talk(session=SQLiteSession("s-4"))
    talk()

    found = traces.new(5)
    assert [trace.body.get("session_id") for trace in found] == ["s-1", "s-2", "g-3", "a-4", None]
    assert (found[2].body["name"], found[2].body["metadata"]["team"]) == ("talk", "x")


@kinds
def test_planted_words_are_recorded(kind: Any, traces: SentTraces, model: StartModel) -> None:
    """An agent's instructions, input, tool arguments and tool result are recorded."""
    planted = Planted()

    @function_tool
    def look_up(city: str, unit: str) -> str:
        """Look a city up."""
        return planted.look_up(city, unit)

    look_up.description = planted["a tool's description"]
    agent = forecaster(
        model(planted.script).base_url,
        kind,
        tools=[look_up],
        instructions=planted["the instructions"],
        model_settings=ModelSettings(metadata={"deal": planted["metadata"]}, tool_choice="auto"),
        handoffs=[Agent(name="other", handoff_description=planted["a hand-off's description"])],
    )
    messages: Any = [
        {"role": "user", "content": planted["an earlier question"]},
        {"role": "assistant", "content": planted["an earlier answer"]},
        {"role": "user", "content": planted["the question"]},
    ]
    with recorded_apart("openai_agents") as recorder:
        run(agent, messages, run_config=RunConfig(group_id=planted["the group"]))
    assert planted.unrecorded(recorder) == planted.lost(recorder) == []


def test_a_hand_off(traces: SentTraces, model: StartModel) -> None:
    """Both agents are below the run, the hand-off is below the first agent, and no span has status ERROR."""

    def script(messages: Any) -> Reply:
        if messages[-1]["role"] == "user":
            return Reply(tool_calls=(ToolCall(name="transfer_to_expert", arguments={}),))
        return Reply(text="It is snowy.")

    endpoint = model(script)
    expert = forecaster(endpoint.base_url, name="expert")
    run(forecaster(endpoint.base_url, name="boss", handoffs=[expert]), "Weather?")

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert [span["name"] for span in trace.children(trace.root)] == ["boss", "expert"]
    handoff = trace.only("OTHER", "handoff")
    assert (handoff["input"], handoff["output"]) == ({"agent": "boss"}, {"agent": "expert"})
    assert handoff in trace.below(trace.only("AGENT", "boss"))
    assert {span["status"] for span in trace.spans} == {"OK"}


def weather_of(city: str) -> str | None:
    """Tell the weather in a city."""
    return WEATHER.get(city)


@pytest.mark.parametrize("together", [False, True])
def test_a_run_that_waits_for_approval(together: bool, traces: SentTraces, model: StartModel) -> None:
    """A tool that waits for approval and its agent are interrupted; so is the run, unless resumed in the same trace."""
    careful = function_tool(weather_of, name_override="weather", needs_approval=True)
    agent = forecaster(model(weather_model).base_url, OpenAIChatCompletionsModel, tools=[careful])

    async def resumed() -> None:
        paused = await Runner.run(agent, "Weather in Oslo?")
        state = paused.to_state()
        for each in paused.interruptions:
            state.approve(each)
        assert (await Runner.run(agent, state)).final_output == "The station says: snowy"

    with agents.trace("both") if together else contextlib.nullcontext():
        asyncio.run(resumed())
    trace = traces.new(1 if together else 2)[0]
    waiting = [(span["name"], span["status"]) for span in trace.spans if "outcome" in span["metadata"]]
    assert waiting[-2:] == [("forecaster", "UNSET"), ("weather", "UNSET")]
    assert len(waiting) == (2 if together else 3)
    assert trace.body["metadata"].get("outcome") == (None if together else "interrupted")


def test_a_tool_that_gives_nothing_back(traces: SentTraces, model: StartModel) -> None:
    """A tool that returns None is not waiting, and the model is called again."""
    tools = [function_tool(weather_of, name_override="weather")]
    run(forecaster(model(weather_model).base_url, tools=tools), "Weather in Atlantis?")
    trace = traces.one()
    assert "outcome" not in trace.body["metadata"]
    assert "outcome" not in trace.root["metadata"]


def test_a_guardrail(traces: SentTraces, model: StartModel) -> None:
    """A guardrail is a span that records whether it was triggered."""

    @input_guardrail(name="no weather")
    def refuse(context: Any, agent: Any, question: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered="Weather" in str(question))

    with pytest.raises(InputGuardrailTripwireTriggered):
        run(forecaster(model(weather_model).base_url, input_guardrails=[refuse]), "Weather in Oslo?")

    trace = traces.one()
    assert trace.only("OTHER", "no weather")["output"] == {"triggered": True}
    assert all("ended_at" in span for span in trace.spans)


@kinds
def test_a_left_stream_keeps_its_words(kind: Any, traces: SentTraces, model: StartModel) -> None:
    """The model call of a streamed run that the app cancels after a word has the words until then."""
    left_after_a_word(model, partial(leave, kind=kind))
    assert str(traces.one().only("LLM")["output"]["messages"][0]["content"]).startswith("one")


def test_our_processor_is_removed_and_idle(traces: SentTraces, model: StartModel) -> None:
    """Uninstrumenting removes our processor from the SDK; after instrumenting again, runs leave nothing in it."""

    def ours() -> list[RunProcessor]:
        provider: Any = agents.tracing.get_trace_provider()
        return [each for each in provider._multi_processor._processors if isinstance(each, RunProcessor)]

    with off("openai_agents"):
        assert ours() == []
    run(forecaster(model(weather_model).base_url), "Weather in Oslo?")
    (processor,) = ours()
    assert processor.is_idle


class Report(BaseModel):
    """A structured answer."""

    place: str
    degrees: int


def replayed_agent(url: str, parts: replays.Parts, kind: Any = OpenAIResponsesModel, **options: Any) -> Agent[Any]:
    """An agent of a program that is replayed."""
    tools = [function_tool(replays.weather, description_override=parts.description)]
    if parts.has_clock:
        tools.append(function_tool(replays.clock))
    given = {"instructions": parts.instructions, "tools": tools, **options}
    return forecaster(url, kind, parts.model, **given)


def chat_streamed(url: str, parts: replays.Parts) -> list[str]:
    """Ask over chat completions, with asynchronous streams."""
    agent = replayed_agent(url, parts, OpenAIChatCompletionsModel)

    async def ask_all() -> list[str]:
        return [str((await read(agent, question)).final_output) for question in parts.questions]

    return asyncio.run(ask_all())


def structured(url: str, parts: replays.Parts) -> list[Any]:
    """Ask over the Responses API for an answer that is JSON with a schema."""
    agent = replayed_agent(url, parts, output_type=Report)
    return [run_sync(agent, f"As JSON: {question} as JSON").final_output for question in parts.questions]


@pytest.mark.parametrize("program", [chat_streamed, structured])
def test_a_program_is_replayed(program: Any, tmp_path: Path) -> None:
    """Replays give the recorded result and spans and run no tool; each change is reported at its first call."""
    replays.is_replayed(program, tmp_path / "one.yaml")
    replays.tells_changes(program, tmp_path / "two.yaml")


def at_once(url: str, parts: replays.Parts, decorate: Any = lambda one: one) -> list[str]:
    """Ask all questions at once, of which two run at a time, then ask about all answers."""
    agent = replayed_agent(url, parts)

    @decorate
    async def answer(question: str) -> str:
        await replays.pause()
        return str((await Runner.run(agent, question)).final_output)

    async def ask_all() -> list[str]:
        free = asyncio.Semaphore(2)

        async def limited(question: str) -> str:
            async with free:
                return str(await answer(question))

        answers = await asyncio.gather(*map(limited, parts.questions))
        return [*answers, await answer(f"Sum up: {answers}")]

    return asyncio.run(ask_all())


def at_once_decorated(url: str, parts: replays.Parts) -> list[str]:
    """Ask in the app's own spans."""
    with pandaprobe_otel.agent("all"):
        return at_once(url, parts, pandaprobe_otel.agent(name="ask"))


@pytest.mark.parametrize("program", [at_once, at_once_decorated])
def test_agents_that_run_at_once(program: Any, tmp_path: Path) -> None:
    """An unchanged program with concurrent runs is replayed each time, and a change of one run is reported."""
    replays.is_replayed(program, tmp_path / "one.yaml", replays.AT_ONCE)
    replays.tells_changes_of_branches(program, tmp_path / "two.yaml")


def failing(url: str, parts: replays.Parts) -> str:
    """Ask an agent with a failing tool, whose error the SDK passes to the model."""

    def weather(city: str) -> str:
        """Tell the weather in a city."""
        replays.DONE.append(city)
        raise LookupError(f"no station in {city}")

    agent = replayed_agent(url, parts, tools=[function_tool(weather), function_tool(replays.clock)])
    return str(run_sync(agent, parts.questions[0]).final_output)


def nested(url: str, parts: replays.Parts) -> str:
    """Ask an agent with an agent as its tool: the inner agent runs in a replay too, and its tools do not."""
    tools = [replayed_agent(url, parts).as_tool("weather", "Ask the station."), function_tool(replays.clock)]
    return str(run_sync(replayed_agent(url, parts, tools=tools), parts.questions[0]).final_output)


@pytest.mark.parametrize("program", [failing, nested])
def test_tools_that_fail_or_call_a_model(program: Any, tmp_path: Path) -> None:
    """A replay gives the model the same texts, and no tool of the program runs."""
    path = tmp_path / "one.yaml"
    url, result, done = replays.record(program, path)
    assert done
    assert (replays.run(program, url, path), replays.DONE) == (result, [])
