"""Agents of Pydantic AI."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from openai import AsyncOpenAI
from pydantic_ai import Agent, Embedder
from pydantic_ai.direct import model_request_stream
from pydantic_ai.messages import ModelRequest
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.providers.openai import OpenAIProvider

import pandaprobe_otel
from agent_traces import SentTraces
from example_runs import Example
from framework_cases import (
    CITIES,
    CUTS,
    AgentApp,
    StartModel,
    do_not_mix,
    growth,
    in_tasks,
    parcel_talk,
    recorded_apart,
    run_beside_another_vendor,
    told_by,
)
from old_versions import needs
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.local import LocalServer
from weather_model import WEATHER, weather, weather_model


def model_at(endpoint: ScriptedEndpoint, kind: Any = OpenAIChatModel) -> Any:
    """A model whose client does not retry and leaves no open connection to a closed event loop."""
    headers = {"Connection": "close"}
    client = AsyncOpenAI(base_url=endpoint.base_url, api_key="any", max_retries=0, default_headers=headers)
    return kind("gpt-5-mini", provider=OpenAIProvider(openai_client=client))


def forecaster(model: Any, name: str = "forecaster", **options: Any) -> Agent[Any, Any]:
    """An agent that knows the weather."""
    return Agent(model, name=name, **{"instructions": "You know weather.", "tools": [weather], **options})


def run_sync(agent: Agent[Any, Any], asked: str) -> None:
    """Wait for the answer, without an event loop."""
    agent.run_sync(asked)


def run(agent: Agent[Any, Any], asked: str) -> None:
    """Wait for the answer in an event loop."""
    asyncio.run(agent.run(asked))


def streamed(agent: Agent[Any, Any], asked: str) -> None:
    """Read the answer piece by piece."""

    async def consume() -> int:
        async with agent.run_stream(asked) as stream:
            return len([piece async for piece in stream.stream_text(delta=True, debounce_by=None)])

    assert asyncio.run(consume()) > 1


@pytest.mark.parametrize("kind", [OpenAIChatModel, OpenAIResponsesModel])
@pytest.mark.parametrize("way", [run_sync, run, streamed])
def test_a_run_is_one_tree(way: Callable[[Any, str], None], kind: Any, traces: SentTraces, model: StartModel) -> None:
    """Every way to run the agent, over either API, makes the same tree; each model call is one LLM span."""
    endpoint = model(weather_model)
    way(forecaster(model_at(endpoint, kind)), "Weather in Oslo?")

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    trace.is_like(f"""
        trace forecaster run | COMPLETED | session {trace.body["session_id"]} | Weather in Oslo? > The station says: snowy
        AGENT forecaster run | su > a
          LLM chat gpt-5-mini @gpt-5-mini | su > c
          TOOL weather | {{"city":"Oslo"}} > "snowy"
          LLM chat gpt-5-mini @gpt-5-mini | suct > a
    """)  # noqa: E501


def test_what_the_spans_tell(traces: SentTraces, model: StartModel) -> None:
    """Messages and tool calls in the spans match those sent over the wire."""
    endpoint = model(weather_model)
    run(forecaster(model_at(endpoint)), "Weather in Łódź?")

    trace = traces.one()
    told = trace.all("LLM")[1]
    (system, user, assistant, result) = told["input"]["messages"]
    wire_id = endpoint.exchanges[1].conversation[-1]["tool_call_id"]
    assert (system["content"], user["content"]) == ("You know weather.", "Weather in Łódź?")
    assert (assistant["tool_calls"][0]["id"], result["tool_call_id"], result["content"]) == (wire_id, wire_id, "sunny")
    assert trace.only("TOOL")["metadata"]["tool_call_id"] == wire_id
    assert told["output"]["messages"][0]["content"] == "The station says: sunny"
    assert (told["metadata"]["agent_name"], told["metadata"]["tools"][0]["name"]) == ("forecaster", "weather")


def direct(agent: Agent[Any, Any], asked: str) -> None:
    """Call the model directly, without an agent."""

    async def consume() -> None:
        request = [ModelRequest.user_text_prompt(asked)]
        async with model_request_stream(agent.model, request, instrument=True) as stream:
            assert [event async for event in stream]

    asyncio.run(consume())


def events(agent: Agent[Any, Any], asked: str) -> None:
    """Run the agent node by node."""

    async def consume() -> None:
        async with agent.iter(asked) as run:
            async for node in run:
                if Agent.is_model_request_node(node):
                    async with node.stream(run.ctx) as stream:
                        assert [event async for event in stream]

    asyncio.run(consume())


@needs("pydantic-ai-slim", "2.6", "time of the first chunk")
@pytest.mark.parametrize("kind", [OpenAIChatModel, OpenAIResponsesModel])
@pytest.mark.parametrize("way", [streamed, events, direct])
def test_the_first_token(way: Callable[[Any, str], None], kind: Any, traces: SentTraces, model: StartModel) -> None:
    """The span of a streamed answer has the time of its first token; other spans do not."""
    agent = forecaster(model_at(model(weather_model), kind))
    way(agent, "Weather in Oslo?")
    run(agent, "Weather in Oslo?")

    as_stream, at_once = traces.new(2)
    for call in as_stream.all("LLM"):
        assert call["started_at"] < call["completion_start_time"] <= call["ended_at"]
    assert [call for call in at_once.all("LLM") if "completion_start_time" in call] == []


@pytest.mark.parametrize("way", [run, streamed])
def test_a_tool_that_raises(way: Callable[[Any, str], None], traces: SentTraces, model: StartModel) -> None:
    """The exception reaches the app, every span is ended, and the spans of tool and agent have the error."""
    with pytest.raises(LookupError, match="no station in Atlantis"):
        way(forecaster(model_at(model(weather_model))), "Weather in Atlantis?")

    trace = traces.one()
    assert all("ended_at" in span for span in trace.spans)
    for span in (trace.only("TOOL"), trace.root):
        assert (span["status"], span["error"]) == ("ERROR", "no station in Atlantis"), str(trace)
    assert trace.only("TOOL")["input"] == {"city": "Atlantis"}
    assert trace.body["status"] == "ERROR"


def test_a_model_that_refuses(traces: SentTraces, model: StartModel) -> None:
    """A refused model call ends the run and all its spans with an error."""
    with pytest.raises(Exception, match="There is no Nowhere"):
        run(forecaster(model_at(model(weather_model))), "Weather in Nowhere?")

    trace = traces.one()
    assert [(span["kind"], span["status"]) for span in trace.spans] == [("AGENT", "ERROR"), ("LLM", "ERROR")]
    assert "There is no Nowhere" in trace.only("LLM")["error"]
    assert trace.body["input"]["messages"][0]["content"] == "Weather in Nowhere?"


async def asked(endpoint: ScriptedEndpoint, question: str, weather: Any) -> None:
    """Ask an agent with this tool."""
    await forecaster(model_at(endpoint), tools=[weather]).run(question)


async def leave(endpoint: ScriptedEndpoint) -> None:
    """Stop reading a streamed run after its first text."""
    async with forecaster(model_at(endpoint)).run_stream("Hi") as result:
        async for _ in result.stream_text(delta=True, debounce_by=None):
            break


@CUTS
def test_a_run_that_is_cut_short(cut: Any, traces: SentTraces, model: StartModel) -> None:
    """A run that is cancelled, left or refused is one trace with the true status and outcome."""
    cut(AgentApp(run=asked, leave=leave), traces, model)


def test_two_turns_are_one_session(traces: SentTraces, model: StartModel) -> None:
    """A continued conversation has the session of its first turn; the app's own session wins."""
    agent = forecaster(model_at(model(weather_model)))
    first = agent.run_sync("Hi", conversation_id="talk-7")
    agent.run_sync("Weather in Oslo?", message_history=first.all_messages())
    with pandaprobe_otel.context(session="mine", user="grace"):
        agent.run_sync("Hi")

    found = traces.new(3)
    assert [trace.body["session_id"] for trace in found] == ["talk-7", "talk-7", "mine"]
    assert found[2].body["user_id"] == "grace"
    assert [trace.body["input"]["messages"][0]["content"] for trace in found] == ["Hi", "Weather in Oslo?", "Hi"]


def test_an_agent_asks_another_and_what_a_tool_does(traces: SentTraces, model: StartModel) -> None:
    """An agent called by a tool is an AGENT span below the tool. The app's spans in a tool are below it too."""
    endpoint = model(weather_model)

    @pandaprobe_otel.span(name="look up")
    def look_up(city: str) -> str:
        return WEATHER[city]

    expert = forecaster(model_at(endpoint), "expert", tools=[])
    boss = forecaster(model_at(endpoint), "boss", tools=[])
    expert.tool_plain(name="weather")(lambda city: look_up(city))

    @boss.tool_plain(name="weather")
    async def ask_expert(city: str) -> str:
        return str((await expert.run(f"Weather in {city}?")).output)

    run(boss, "Weather in Oslo?")
    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    inner = trace.only("AGENT", "expert run")
    assert [(span["kind"], span["name"]) for span in trace.above(inner)] == [("TOOL", "weather"), ("AGENT", "boss run")]
    assert [span["name"] for span in trace.above(trace.only(name="look up"))][:2] == ["weather", "expert run"]
    assert trace.body["output"]["messages"][0]["content"] == "The station says: The station says: snowy"


def test_runs_at_once_do_not_mix(traces: SentTraces, model: StartModel) -> None:
    """Each of several concurrent runs of one agent is a separate trace with no spans of the others."""
    agent = forecaster(model_at(model(weather_model)))
    in_tasks(lambda city: agent.run(f"Weather in {city}?"))
    found = traces.new(len(CITIES))
    do_not_mix(found, "AGENT", "LLM", "TOOL", "LLM")
    assert len({trace.body["session_id"] for trace in found}) == len(CITIES)


@pytest.mark.parametrize("vendor", ["logfire", "openinference"])
def test_beside_another_vendor(vendor: str, traces: SentTraces, server: LocalServer, model: StartModel) -> None:
    """We and the rival use the spans that Pydantic AI makes itself, so each call is recorded once."""
    endpoint = model(weather_model)
    done = run_beside_another_vendor("pydantic_ai", vendor, server.url, server.api_key, endpoint.base_url)
    assert done.stdout.partition(":")[0] == "adopted"
    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert [span["kind"] for span in trace.spans if span["kind"] != "CHAIN"] == ["AGENT", "LLM", "TOOL", "LLM"]


def test_the_example(traces: SentTraces, model: StartModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example makes two turns of one session, the second streamed."""
    example = Example("pydantic_ai_agent")
    example.run(model(example.script), monkeypatch)

    assert parcel_talk(traces)[0].body["session_id"] == "conversation-1"


def test_settings_of_the_apps_own_stay(traces: SentTraces) -> None:
    """Settings that the app made for all agents, or for one, stay."""
    ours = vars(Agent)["_instrument_default"]
    pandaprobe_otel.uninstrument("pydantic_ai")
    assert vars(Agent)["_instrument_default"] is vars(Embedder)["_instrument_default"] is False
    Agent.instrument_all(True)
    try:
        assert pandaprobe_otel.instrument("pydantic_ai").state == "adopted"
        assert vars(Agent)["_instrument_default"] is True
    finally:
        pandaprobe_otel.uninstrument("pydantic_ai")
        Agent.instrument_all(False)
        pandaprobe_otel.instrument("pydantic_ai")
    assert type(vars(Agent)["_instrument_default"]) is type(ours)
    silent = Agent(TestModel(), name="silent")
    silent.instrument = False
    silent.run_sync("Hi")
    assert traces.new(0) == []


ECHO = Agent(TestModel(custom_output_text="It is snowy."), name="echo")


def test_content_is_left_out_when_it_is_not_wanted(traces: SentTraces) -> None:
    """With `capture_content=False`, spans have names, models and tokens, but no content."""
    with recorded_apart("pydantic_ai", capture_content=False) as recorded:
        ECHO.run_sync("Weather in Oslo?")

    told = told_by(recorded)
    assert recorded.names == ["chat test", "invoke_agent echo"]
    assert ("gen_ai.usage.input_tokens" in told, "Oslo" in told, "snowy" in told) == (True, False, False)


def test_a_thousand_runs_do_not_grow(traces: SentTraces) -> None:
    """A thousand runs leave no objects behind."""

    async def runs(count: int) -> None:
        for _ in range(count):
            await ECHO.run("Weather in Oslo?")
            recorded.clear()

    with recorded_apart("pydantic_ai", capture_content=False) as recorded:
        assert growth(lambda count: asyncio.run(runs(count)), 1000) < 200
