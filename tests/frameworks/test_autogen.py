"""Agents of AutoGen, which makes spans itself; the model's client makes those of the model calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.conditions import MaxMessageTermination
from autogen_agentchat.teams import RoundRobinGroupChat
from autogen_ext.models.openai import OpenAIChatCompletionClient

import pandaprobe_otel
from agent_traces import SentTraces
from example_runs import Example
from pandaprobe_otel.demo.scripted_endpoint import Script, ScriptedEndpoint
from weather_model import WEATHER, weather, weather_model

StartModel = Callable[[Script], ScriptedEndpoint]
MODEL = "gpt-4.1-mini-2025-04-14"


def forecaster(endpoint: ScriptedEndpoint, **options: Any) -> Any:
    """An agent that knows the weather."""
    headers = {"Connection": "close"}  # none is left to a loop that is closed
    client = OpenAIChatCompletionClient(
        model=MODEL, base_url=endpoint.base_url, api_key="any", max_retries=0, default_headers=headers
    )
    given = {"name": "forecaster", "tools": [weather], "reflect_on_tool_use": True, **options}
    return AssistantAgent(model_client=client, system_message="You know weather.", **given)


@pytest.fixture
def agent_at(traces: SentTraces) -> Callable[..., Any]:
    """Makes agents. The making of one is a span of AutoGen's, and a trace, which is not what the tests are about."""

    def made(endpoint: ScriptedEndpoint, **options: Any) -> Any:
        agent = forecaster(endpoint, **options)
        (making,) = traces.one().spans
        assert making["name"] == "create_agent forecaster"
        return agent

    return made


async def run(agent: Any, asked: str) -> None:
    """Wait for the answer."""
    await agent.run(task=asked)


async def streamed(agent: Any, asked: str) -> None:
    """Event by event."""
    assert len([event async for event in agent.run_stream(task=asked)]) > 2


@pytest.mark.parametrize("way", [run, streamed])
def test_a_run_is_one_tree(
    way: Callable[[Any, str], Any], agent_at: Callable[..., Any], traces: SentTraces, model: StartModel
) -> None:
    """The same tree however it is run: AutoGen's spans of agent and tool, and one LLM span for each call."""
    endpoint = model(weather_model)
    asyncio.run(way(agent_at(endpoint), "Weather in Oslo?"))

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    trace.is_like(f"""
        trace invoke_agent forecaster | COMPLETED | Weather in Oslo? > The station says: snowy
        AGENT invoke_agent forecaster
          LLM chat {MODEL} @{MODEL} | su > c
          TOOL weather
          LLM chat {MODEL} @{MODEL} | suct > a
    """)
    (call,) = trace.all("LLM")[0]["output"]["messages"][0]["tool_calls"]
    assert trace.only("TOOL")["metadata"]["tool_call_id"] == call["id"]


def test_pieces_of_the_models_answer(agent_at: Callable[..., Any], traces: SentTraces, model: StartModel) -> None:
    """With a model that streams, the spans are the same, and tell when the answer began."""
    asyncio.run(streamed(agent_at(model(weather_model), model_client_stream=True), "Weather in Oslo?"))

    trace = traces.one()
    assert [span["kind"] for span in trace.spans] == ["AGENT", "LLM", "TOOL", "LLM"]
    assert all("completion_start_time" in span for span in trace.all("LLM"))


def test_a_failure_that_the_agent_handles(agent_at: Callable[..., Any], traces: SentTraces, model: StartModel) -> None:
    """The tool's span is an error, the agent's is not."""
    asyncio.run(run(agent_at(model(weather_model)), "Weather in Atlantis?"))

    trace = traces.one()
    failed = trace.only("TOOL")
    assert (failed["status"], "no station in Atlantis" in failed["error"]) == ("ERROR", True)
    assert (trace.root["status"], trace.body["status"]) != ("ERROR", "ERROR")


def test_a_model_that_refuses(agent_at: Callable[..., Any], traces: SentTraces, model: StartModel) -> None:
    """The exception reaches the app, and every span is ended and tells it."""
    with pytest.raises(Exception, match="There is no Nowhere"):
        asyncio.run(run(agent_at(model(weather_model)), "Weather in Nowhere?"))

    trace = traces.one()
    assert [(span["kind"], span["status"]) for span in trace.spans] == [("AGENT", "ERROR"), ("LLM", "ERROR")]
    assert {"ended_at" in span for span in trace.spans} == {True}


def test_a_team_in_a_span_of_the_app(traces: SentTraces, model: StartModel) -> None:
    """Its agents, which AutoGen calls from elsewhere, are all below that span; so is an agent's making."""
    endpoint = model(weather_model)

    async def team() -> None:
        with pandaprobe_otel.session("talk-1"), pandaprobe_otel.span("team", kind="AGENT"):
            both = [forecaster(endpoint), forecaster(endpoint, name="commentator", tools=[])]
            await RoundRobinGroupChat(both, termination_condition=MaxMessageTermination(5)).run(task="Weather in Oslo?")

    asyncio.run(team())

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert trace.body["session_id"] == "talk-1"
    invoked = [span for span in trace.all("AGENT") if span["name"].startswith("invoke_agent")]
    assert {span["name"] for span in invoked} == {"invoke_agent forecaster", "invoke_agent commentator"}
    assert {span["parent_span_id"] for span in invoked} == {trace.root["span_id"]}


def test_runs_at_once_do_not_mix(agent_at: Callable[..., Any], traces: SentTraces, model: StartModel) -> None:
    """Each of several runs is a trace of its own, complete and with nothing of another's."""
    endpoint = model(weather_model)
    cities = ["Oslo", "Łódź"] * 2
    agents = [agent_at(endpoint) for _ in cities]

    async def gathered() -> None:
        each = zip(agents, cities, strict=True)
        await asyncio.gather(*(run(agent, f"Weather in {city}?") for agent, city in each))

    asyncio.run(gathered())
    answers = sorted(trace.body["output"]["messages"][0]["content"] for trace in traces.new(len(cities)))
    assert answers == sorted(f"The station says: {WEATHER[city]}" for city in cities)


def test_the_example(traces: SentTraces, model: StartModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key: a conversation of two turns in one trace each, and one session."""
    example = Example("autogen_agent")
    endpoint = model(example.script)
    example.run(endpoint, monkeypatch)

    found = traces.new(2)
    assert {trace.body["session_id"] for trace in found} == {"conversation-1"}
    assert sum(len(trace.all("LLM")) for trace in found) == len(endpoint.exchanges)
    assert len(found[0].all("TOOL")) == 1
