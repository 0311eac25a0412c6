"""Agents of AutoGen: AutoGen makes the spans of agents and tools, the model's client those of model calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from autogen_agentchat.agents import AssistantAgent, BaseChatAgent
from autogen_agentchat.conditions import MaxMessageTermination
from autogen_agentchat.teams import BaseGroupChat, RoundRobinGroupChat
from autogen_agentchat.tools import AgentTool
from autogen_core import FunctionCall
from autogen_core.models import CreateResult, ModelInfo, RequestUsage
from autogen_core.tools import BaseTool
from autogen_ext.models.openai import OpenAIChatCompletionClient
from autogen_ext.models.replay import ReplayChatCompletionClient
from opentelemetry.trace import INVALID_SPAN, get_current_span

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
    is_silent_beside_another_vendor,
    parcel_talk,
    recorded_apart,
)
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.local import LocalServer
from span_recorder import SpanRecorder
from weather_model import WEATHER, weather, weather_model

MODEL = "gpt-4.1-mini-2025-04-14"


def forecaster(endpoint: ScriptedEndpoint, **options: Any) -> Any:
    """An agent that knows the weather."""
    headers = {"Connection": "close"}  # leaves no open connection to a closed event loop
    client = OpenAIChatCompletionClient(
        model=MODEL, base_url=endpoint.base_url, api_key="any", max_retries=0, default_headers=headers
    )
    given = {"name": "forecaster", "tools": [weather], "reflect_on_tool_use": True, **options}
    return AssistantAgent(model_client=client, system_message="You know weather.", **given)


def calling(tool: str, arguments: str = "{}") -> Any:
    """Return a model answer that calls this tool."""
    call = FunctionCall(id="call-1", name=tool, arguments=arguments)
    usage = RequestUsage(prompt_tokens=1, completion_tokens=1)
    return CreateResult(finish_reason="function_calls", content=[call], usage=usage, cached=False)


def replayed(answers: list[Any], *, name: str = "echo", **options: Any) -> Any:
    """An agent whose model replays these answers without a network."""
    info = ModelInfo(vision=False, function_calling=True, json_output=False, family="any", structured_output=False)
    return AssistantAgent(name, ReplayChatCompletionClient(answers, model_info=info), **options)


async def at_once() -> str:
    """Answer at once."""
    return "done"


@pytest.fixture
def recorded(traces: SentTraces) -> Iterator[SpanRecorder]:
    """Record spans with a provider other than the global one."""
    with recorded_apart("autogen") as recorder:
        yield recorder


async def run(agent: Any, asked: str) -> None:
    """Wait for the answer."""
    await agent.run(task=asked)


async def streamed(agent: Any, asked: str) -> None:
    """Read the run event by event."""
    assert len([event async for event in agent.run_stream(task=asked)]) > 2


@pytest.mark.parametrize("way", [run, streamed])
def test_a_run_is_one_tree(way: Callable[[Any, str], Any], traces: SentTraces, model: StartModel) -> None:
    """Every way to run the agent makes the same tree: AutoGen's agent and tool spans, one LLM span per model call."""
    endpoint = model(weather_model)
    asyncio.run(way(forecaster(endpoint), "Weather in Oslo?"))

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    session = trace.body["session_id"]
    trace.is_like(f"""
        trace invoke_agent forecaster | COMPLETED | session {session} | Weather in Oslo? > The station says: snowy
        AGENT invoke_agent forecaster | u > a
          LLM chat {MODEL} @{MODEL} | su > c
          TOOL weather | {{"city":"Oslo"}} > "snowy"
          LLM chat {MODEL} @{MODEL} | suct > a
    """)
    (call,) = trace.all("LLM")[0]["output"]["messages"][0]["tool_calls"]
    tool = trace.only("TOOL")
    assert tool["metadata"]["tool_call_id"] == call["id"]
    assert (tool["input"], tool["output"]) == ({"city": "Oslo"}, WEATHER["Oslo"])


def test_pieces_of_the_models_answer(traces: SentTraces, model: StartModel) -> None:
    """A model that streams makes the same spans, with the time of the first token."""
    asyncio.run(streamed(forecaster(model(weather_model), model_client_stream=True), "Weather in Oslo?"))

    trace = traces.one()
    assert [span["kind"] for span in trace.spans] == ["AGENT", "LLM", "TOOL", "LLM"]
    assert all("completion_start_time" in span for span in trace.all("LLM"))


def test_a_failure_that_the_agent_handles(traces: SentTraces, model: StartModel) -> None:
    """The tool's span has status ERROR; the agent's span does not."""
    asyncio.run(run(forecaster(model(weather_model)), "Weather in Atlantis?"))

    trace = traces.one()
    failed = trace.only("TOOL")
    assert (failed["status"], "no station in Atlantis" in failed["error"]) == ("ERROR", True)
    assert (failed["input"], failed.get("output")) == ({"city": "Atlantis"}, "no station in Atlantis")
    assert (trace.root["status"], trace.body["status"]) != ("ERROR", "ERROR")


def test_a_model_that_refuses(traces: SentTraces, model: StartModel) -> None:
    """A refused model call raises in the app, and every span ends with that error."""
    with pytest.raises(Exception, match="There is no Nowhere"):
        asyncio.run(run(forecaster(model(weather_model)), "Weather in Nowhere?"))

    trace = traces.one()
    assert [(span["kind"], span["status"]) for span in trace.spans] == [("AGENT", "ERROR"), ("LLM", "ERROR")]
    assert {"ended_at" in span for span in trace.spans} == {True}


async def team(endpoint: ScriptedEndpoint) -> Any:
    """Run a team of two agents, one after the other."""
    both = [forecaster(endpoint), forecaster(endpoint, name="commentator", tools=[])]
    group = RoundRobinGroupChat(both, name="pair", termination_condition=MaxMessageTermination(5))
    return await group.run(task="Weather in Oslo?")


def test_an_agents_runs_are_one_session(traces: SentTraces, model: StartModel) -> None:
    """The runs of one agent share a session, those of another agent do not; the app's own session wins."""
    endpoint = model(weather_model)
    one, other = forecaster(endpoint), forecaster(endpoint)

    async def talk() -> None:
        await run(one, "Weather in Oslo?")
        await streamed(one, "Weather in Oslo?")
        await run(other, "Weather in Oslo?")
        with pandaprobe_otel.session("mine"):
            await run(one, "Weather in Oslo?")

    asyncio.run(talk())
    first, second, third, fourth = (trace.body["session_id"] for trace in traces.new(4))
    assert len(first) == 32
    assert (second, fourth) == (first, "mine")
    assert third not in {first, fourth}


def test_a_team_is_one_trace(traces: SentTraces, model: StartModel) -> None:
    """A team's agents, which AutoGen runs in other tasks, are all below the team, and the trace has a session."""
    endpoint = model(weather_model)
    result = asyncio.run(team(endpoint))

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert (trace.root["name"], trace.root["kind"]) == ("invoke_agent pair", "AGENT")
    assert trace.body["session_id"]
    assert trace.body["input"]["messages"][-1]["content"] == "Weather in Oslo?"
    assert trace.body["output"]["messages"][-1]["content"] == result.messages[-1].to_text()
    members = [span for span in trace.all("AGENT") if span is not trace.root]
    assert {span["name"] for span in members} == {"invoke_agent forecaster", "invoke_agent commentator"}
    assert {span["parent_span_id"] for span in members} == {trace.root["span_id"]}
    said = [[each["content"] for each in span["input"]["messages"] + span["output"]["messages"]] for span in members]
    texts = [each.to_text() for each in result.messages if type(each).__name__ == "TextMessage"]
    assert said[:2] == [texts[:2], texts[:3]]


def test_a_team_that_fails(traces: SentTraces, model: StartModel) -> None:
    """A member's exception reaches the app; its span and all spans above it have status ERROR."""
    group = RoundRobinGroupChat([forecaster(model(weather_model))], max_turns=1)
    with pytest.raises(Exception, match="There is no Nowhere"):
        asyncio.run(group.run(task="Weather in Nowhere?"))

    trace = traces.one()
    assert [(span["kind"], span["status"]) for span in trace.spans] == [
        ("AGENT", "ERROR"),
        ("AGENT", "ERROR"),
        ("LLM", "ERROR"),
    ]
    assert {"ended_at" in span for span in trace.spans} == {True}


def test_teams_at_once_do_not_mix(traces: SentTraces, model: StartModel) -> None:
    """Concurrent teams have separate traces and sessions; a team's second run has the session of its first."""
    endpoint = model(weather_model)
    teams = [RoundRobinGroupChat([forecaster(endpoint)], max_turns=1) for _ in range(2)]

    async def gathered() -> None:
        for _ in range(2):
            await asyncio.gather(*(each.run(task="Weather in Oslo?") for each in teams))

    asyncio.run(gathered())
    found = traces.new(4)
    for trace in found:
        assert [span["kind"] for span in trace.spans] == ["AGENT", "AGENT", "LLM", "TOOL", "LLM"]
    sessions = [trace.body["session_id"] for trace in found]
    assert {sessions.count(each) for each in sessions} == {2}


def test_a_team_in_a_span_of_the_app(traces: SentTraces, model: StartModel) -> None:
    """In a span of the app, the team and the creation of its agents are below that span; the app's session wins."""
    endpoint = model(weather_model)

    async def asked() -> None:
        with pandaprobe_otel.session("talk-1"), pandaprobe_otel.span("desk", kind="AGENT"):
            await team(endpoint)

    asyncio.run(asked())

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert trace.body["session_id"] == "talk-1"
    below = [span["name"] for span in trace.children(trace.root)]
    assert below == ["create_agent forecaster", "create_agent commentator", "invoke_agent pair"]


def test_an_agent_that_is_a_tool(recorded: SpanRecorder) -> None:
    """An agent used as a tool is below the tool's span, and its answer is the tool's result."""
    expert = AgentTool(replayed(["Snow."], name="expert"), return_value_as_last_message=True)
    asyncio.run(streamed(replayed([calling("expert", '{"task": "Oslo?"}')], tools=[expert]), "Weather in Oslo?"))

    assert recorded.tree() == {
        "invoke_agent echo": None,
        "execute_tool expert": "invoke_agent echo",
        "invoke_agent expert": "execute_tool expert",
    }
    tool = recorded.attributes("execute_tool expert")
    assert json.loads(tool["gen_ai.tool.call.arguments"]) == {"task": "Oslo?"}
    assert tool["gen_ai.tool.call.result"] == "Snow."


def test_between_two_events_nothing_is_current(traces: SentTraces, model: StartModel) -> None:
    """Between two events, no span of ours is current, even if the app stops reading; every span is ended."""
    endpoint = model(weather_model)

    async def drop() -> None:
        for runs in (forecaster(endpoint), RoundRobinGroupChat([forecaster(endpoint)], max_turns=1)):
            events = runs.run_stream(task="Weather in Oslo?")
            async for _ in events:
                assert get_current_span() is INVALID_SPAN
                break
            assert get_current_span() is INVALID_SPAN
            await events.aclose()

    asyncio.run(drop())
    for trace in traces.new(2):
        assert all("ended_at" in span and span["status"] != "ERROR" for span in trace.spans)


async def asked(endpoint: ScriptedEndpoint, question: str, weather: Any) -> None:
    """Ask an agent with this tool."""
    await forecaster(endpoint, tools=[weather]).run(task=question)


async def leave(endpoint: ScriptedEndpoint) -> None:
    """Stop reading a streamed run after its first text."""
    events = forecaster(endpoint, model_client_stream=True).run_stream(task="Hi")
    async for event in events:
        if type(event).__name__ == "ModelClientStreamingChunkEvent":
            break


@CUTS
def test_a_run_that_is_cut_short(cut: Any, traces: SentTraces, model: StartModel) -> None:
    """A run that is cancelled, left or refused is one trace with the true status and outcome."""
    cut(AgentApp(run=asked, leave=leave, passes_stops=False), traces, model)


def test_runs_at_once_do_not_mix(traces: SentTraces, model: StartModel) -> None:
    """Each of several concurrent runs is a separate, complete trace with no spans of the others."""
    endpoint = model(weather_model)
    in_tasks(lambda city: run(forecaster(endpoint), f"Weather in {city}?"))
    do_not_mix(traces.new(len(CITIES)), "AGENT", "LLM", "TOOL", "LLM")


def test_the_example(traces: SentTraces, model: StartModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example, without a key, makes two turns: two traces in one session."""
    example = Example("autogen_agent")
    endpoint = model(example.script)
    example.run(endpoint, monkeypatch)

    found = parcel_talk(traces)
    assert found[0].body["session_id"] == "conversation-1"
    assert sum(len(trace.all("LLM")) for trace in found) == len(endpoint.exchanges)


def test_silent_beside_another_vendor(traces: SentTraces, server: LocalServer, model: StartModel) -> None:
    """While OpenInference records the runs, neither our spans nor AutoGen's own repeat them."""
    endpoint = model(weather_model)
    trace = is_silent_beside_another_vendor("autogen", traces, server, endpoint)
    assert "autogen-core" not in {span["metadata"]["scope"] for span in trace.spans}
    assert [len(trace.all(kind)) for kind in ("AGENT", "TOOL", "LLM")] == [1, 1, 2]


def test_a_thousand_runs_do_not_grow(recorded: SpanRecorder) -> None:
    """Neither a successful nor a failed run leaves objects behind."""

    async def runs(count: int) -> None:
        for number in range(count):
            agent = replayed([] if number % 10 == 0 else [calling("at_once")], tools=[at_once])
            try:
                await agent.run(task="Hi")
            except ValueError:
                assert number % 10 == 0
            assert recorded.names[-1] == "invoke_agent echo"
            recorded.clear()

    assert growth(lambda count: asyncio.run(runs(count)), 1000) < 500


def test_without_content(recorded: SpanRecorder) -> None:
    """With `capture_content=False`, spans have no messages, tool arguments or tool results."""
    pandaprobe_otel.uninstrument("autogen")
    pandaprobe_otel.instrument("autogen", tracer_provider=recorded.provider, capture_content=False)
    asyncio.run(replayed([calling("at_once")], tools=[at_once]).run(task="Hi"))

    assert recorded.names == ["execute_tool at_once", "invoke_agent echo"]
    told = {*recorded.attributes("execute_tool at_once"), *recorded.attributes("invoke_agent echo")}
    assert not {name for name in told if "messages" in name or "tool.call.arg" in name or "tool.call.res" in name}


def test_taking_it_off_and_putting_it_on_again(recorded: SpanRecorder) -> None:
    """Uninstrumenting restores AutoGen's functions."""
    places = [(BaseChatAgent, "run_stream"), (BaseGroupChat, "run_stream"), (BaseTool, "run_json")]
    hooked = [vars(owner)[name] for owner, name in places]
    pandaprobe_otel.uninstrument("autogen")
    assert [vars(owner)[name] for owner, name in places] == [each.__wrapped__ for each in hooked]
    assert pandaprobe_otel.instrument("autogen").state == "adopted"
