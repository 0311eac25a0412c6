"""Agents of AG2."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from ag2 import Agent
from ag2.agent import Agent as AgentClass
from ag2.config import OpenAIConfig
from ag2.events import ModelMessageChunk
from ag2.middleware.builtin.telemetry import TelemetryMiddleware

import pandaprobe_otel
from agent_traces import SentTraces
from example_runs import Example
from framework_cases import (
    CITIES,
    CUTS,
    AgentApp,
    StartModel,
    do_not_mix,
    growth_of_ours,
    in_tasks,
    off,
    parcel_talk,
)
from pandaprobe_otel.demo.completions import Reply, ToolCall, text_of
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from weather_model import weather as look_up
from weather_model import weather_model

Ask = Callable[[Agent, str], Any]
# AG2 does not close its clients' connections; the garbage collector finds them while any other code runs.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


def weather(city: str) -> str:
    """Tell the weather in a city."""
    with pandaprobe_otel.span("look up"):
        return look_up(city)


def forecaster(endpoint: ScriptedEndpoint, tool: Any = weather, *, streaming: bool = False, **options: Any) -> Agent:
    """An agent that knows the weather."""
    config = OpenAIConfig(
        model="gpt-5-mini", base_url=endpoint.base_url, api_key="any", max_retries=0, streaming=streaming
    )
    return Agent("forecaster", prompt="You know weather.", config=config, tools=[tool], **options)


async def asked(agent: Agent, task: str) -> str:
    """Return the agent's answer."""
    return str((await agent.ask(task)).body)


async def ran(agent: Agent, task: str) -> str:
    """Return the agent's answer, read through the handle of the run."""
    async with agent.run(task) as handle:
        return str((await handle.result()).body)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("ask", [asked, ran])
def test_a_run_is_one_tree(ask: Ask, streaming: bool, traces: SentTraces, model: StartModel) -> None:
    """Each model call is one LLM span, made by its client; each tool is below the agent."""
    endpoint = model(weather_model)
    assert asyncio.run(ask(forecaster(endpoint, streaming=streaming), "Weather in Oslo?")) == "The station says: snowy"

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert [(span["kind"], span["name"]) for span in trace.children(trace.root)] == [
        ("LLM", "chat gpt-5-mini"),
        ("TOOL", "weather"),
        ("LLM", "chat gpt-5-mini"),
    ]
    assert (trace.root["kind"], trace.root["name"], trace.root["status"]) == ("AGENT", "forecaster", "OK")
    called = trace.only("TOOL", "weather")
    assert (called["input"], called["output"]) == ({"city": "Oslo"}, "snowy")
    assert [span["name"] for span in trace.above(trace.only(name="look up"))] == ["weather", "forecaster"]
    assert "Weather in Oslo?" in str(trace.root["input"])
    assert "The station says: snowy" in str(trace.root["output"])


async def leave(endpoint: ScriptedEndpoint) -> None:
    """Stop reading the events of a run after its first text."""
    async with forecaster(endpoint, streaming=True).run("Hi") as handle:
        with handle.stream.where(ModelMessageChunk).join(max_events=1) as pieces:
            handle.start()
            async for _ in pieces:
                pass


@CUTS
@pytest.mark.parametrize("ask", [asked, ran])
def test_a_run_that_is_cut_short(ask: Ask, cut: Any, traces: SentTraces, model: StartModel) -> None:
    """A run that is cancelled, left or refused is one trace with the true status and outcome."""
    streaming = ask is ran
    app = AgentApp(
        run=lambda endpoint, task, tool: ask(forecaster(endpoint, tool, streaming=streaming), task), leave=leave
    )
    cut(app, traces, model)


def test_an_agent_as_a_tool(traces: SentTraces, model: StartModel) -> None:
    """A sub-agent is an AGENT span below the tool call that runs it."""

    def script(messages: Any) -> Reply:
        if "You lead." not in text_of(messages[0]["content"]):
            return weather_model(messages)
        if messages[-1]["role"] == "tool":
            return Reply(text="Snow, they say.")
        return Reply(tool_calls=(ToolCall(name="expert", arguments={"question": "Weather in Oslo?"}),))

    endpoint = model(script)

    async def expert(question: str) -> str:
        """Ask an expert."""
        return str(await asked(forecaster(endpoint), question))

    config = OpenAIConfig(model="gpt-5-mini", base_url=endpoint.base_url, api_key="any")
    assert asyncio.run(asked(Agent("office", prompt="You lead.", config=config, tools=[expert]), "How is it?"))

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert [span["name"] for span in trace.above(trace.only("AGENT", "forecaster"))] == ["expert", "office"]


def test_two_turns_are_one_session(traces: SentTraces, model: StartModel) -> None:
    """The turns share AG2's own conversation as session, unless the app sets one."""

    async def talk() -> None:
        first = await forecaster(model(weather_model)).ask("Hi")
        await first.ask("Thanks")
        with pandaprobe_otel.session("mine"):
            await first.ask("Bye")

    asyncio.run(talk())
    first, second, third = traces.new(3)
    assert first.body["session_id"] == second.body["session_id"]
    assert third.body["session_id"] == "mine"


def test_runs_at_once_do_not_mix(traces: SentTraces, model: StartModel) -> None:
    """Concurrent runs of one agent are separate traces."""
    agent = forecaster(model(weather_model))

    in_tasks(lambda city: asked(agent, f"Weather in {city}?"))
    found = traces.new(len(CITIES))
    do_not_mix(found, "AGENT", "LLM", "TOOL", "OTHER", "LLM")
    assert len({trace.body["session_id"] for trace in found}) == len(CITIES)


def test_many_runs_do_not_grow(traces: SentTraces, model: StartModel) -> None:
    """Neither a successful nor a failed run leaves any of our objects behind."""
    agent = forecaster(model(weather_model))

    async def runs(count: int) -> None:
        for number in range(count):
            task = asked(agent, "Weather in Nowhere?" if number % 10 == 0 else "Hi")
            (result,) = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(result, Exception) == (number % 10 == 0)
        traces.new(count)

    assert growth_of_ours(lambda count: asyncio.run(runs(count)), 60, first=20) == {}


def test_taking_it_off_and_putting_it_on_again(traces: SentTraces, model: StartModel) -> None:
    """Uninstrumenting restores the library; the client's calls are then separate traces."""
    hooked = AgentClass.__dict__["_drive_scope"]
    with off("ag2"):
        assert AgentClass.__dict__["_drive_scope"] is hooked.__wrapped__
        asyncio.run(asked(forecaster(model(weather_model)), "Weather in Oslo?"))
    assert {trace.root["metadata"].get("scope") for trace in traces.new(3)} >= {"pandaprobe_otel.openai"}


def test_beside_its_own_middleware(traces: SentTraces, model: StartModel) -> None:
    """The spans of AG2's own middleware are used: one for each model call, with tokens counted once."""
    endpoint = model(weather_model)
    own = TelemetryMiddleware(agent_name="forecaster")
    asyncio.run(asked(forecaster(endpoint, middleware=[own]), "Weather in Oslo?"))

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert [span["kind"] for span in trace.children(trace.root)] == ["LLM", "TOOL", "LLM"]


def test_the_example(traces: SentTraces, model: StartModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example, without a key, makes two turns: two traces in one session."""
    example = Example("ag2_agent")
    endpoint = model(example.script)
    example.run(endpoint, monkeypatch)

    assert sum(len(trace.all("LLM")) for trace in parcel_talk(traces)) == len(endpoint.exchanges)
