"""Flows of CrewAI."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent_traces import SentTraces
from framework_cases import StartModel
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from weather_crews import forecaster, model_of, station
from weather_model import weather_model

from crewai.flow import human_feedback  # isort: skip  # after `weather_crews`, which configures CrewAI
from crewai.flow.async_feedback import HumanFeedbackPending  # isort: skip
from crewai.flow.flow import Flow, listen, router, start  # isort: skip
from crewai.flow.persistence import SQLiteFlowPersistence  # isort: skip


class Report(Flow[dict[str, Any]]):
    """A flow that asks a crew, then an agent."""

    llm: Any = None

    @start()
    def choose(self) -> str:
        """Return the city of the state."""
        return str(self.state.get("city", "Oslo"))

    @router(choose)
    def is_known(self, city: str) -> str:
        """Return the route for the city."""
        return "unknown" if city == "Atlantis" else "known"

    @listen("known")
    def ask_crew(self) -> str:
        """Ask a crew."""
        return str(station(self.llm, "Weather in Oslo?").kickoff())

    @listen("unknown")
    def give_up(self) -> str:
        """Fail."""
        raise LookupError("no such city")

    @listen(ask_crew)
    async def ask_agent(self, said: str) -> str:
        """Ask an agent."""
        return str((await forecaster(self.llm).kickoff_async("Weather in Łódź?")).raw)


def report(endpoint: ScriptedEndpoint) -> Any:
    """Return the flow with its model."""
    flow = Report()
    flow.llm = model_of(endpoint)
    return flow


def kickoff(flow: Any, inputs: dict[str, Any]) -> None:
    """Run the flow."""
    flow.kickoff(inputs=inputs)


def kickoff_async(flow: Any, inputs: dict[str, Any]) -> None:
    """Run the flow in an event loop."""
    asyncio.run(flow.kickoff_async(inputs=inputs))


@pytest.mark.parametrize("way", [kickoff, kickoff_async])
def test_a_flow_is_one_tree(way: Callable[[Any, Any], None], traces: SentTraces, model: StartModel) -> None:
    """A flow's methods are steps with their crews and agents below; flows inside CrewAI's own agents are left out."""
    endpoint = model(weather_model)
    way(report(endpoint), {"city": "Oslo"})

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    trace.is_like("""
        trace Report | COMPLETED | {"city":"Oslo"} > The station says: sunny
        CHAIN Report | {city} > "The station says: sunny"
          CHAIN choose | - > "Oslo"
          CHAIN is_known | {_0} > "known"
          CHAIN ask_crew | - > "The station says: snowy"
            CHAIN station | u > a
              CHAIN report | {description,expected_output} > "The station says: snowy"
                AGENT forecaster | u > a
                  LLM chat gpt-5-mini @gpt-5-mini | su > c
                  TOOL weather | {"city":"Oslo"} > "snowy"
                  LLM chat gpt-5-mini @gpt-5-mini | suct > a
          CHAIN ask_agent | {_0} > "The station says: sunny"
            AGENT forecaster | u > a
              LLM chat gpt-5-mini @gpt-5-mini | su > c
              TOOL weather | {"city":"Łódź"} > "sunny"
              LLM chat gpt-5-mini @gpt-5-mini | suct > a
    """)


def test_a_method_that_fails(traces: SentTraces, model: StartModel) -> None:
    """A failed method's exception reaches the app; method and flow have status ERROR, earlier methods are OK."""
    with pytest.raises(LookupError, match="no such city"):
        report(model(weather_model)).kickoff(inputs={"city": "Atlantis"})

    trace = traces.one()
    assert [(span["name"], span["status"]) for span in trace.spans] == [
        ("Report", "ERROR"),
        ("choose", "OK"),
        ("is_known", "OK"),
        ("give_up", "ERROR"),
    ]
    assert "no such city" in trace.only(name="give_up")["error"]


def test_two_turns_are_one_session(traces: SentTraces, model: StartModel) -> None:
    """The id in the flow's state is the session."""
    endpoint = model(weather_model)
    for _ in range(2):
        report(endpoint).kickoff(inputs={"id": "talk-7"})

    assert [trace.body["session_id"] for trace in traces.new(2)] == ["talk-7", "talk-7"]


class Asks:
    """A feedback provider whose person answers later."""

    def request_feedback(self, context: Any, flow: Any) -> str:
        """Pause the flow until there is an answer."""
        raise HumanFeedbackPending(context=context)


def test_a_flow_that_waits_for_feedback(traces: SentTraces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flow paused for feedback is interrupted, and so are its method and the trace, without an error."""
    monkeypatch.setenv("CREWAI_STORAGE_DIR", str(tmp_path))

    class Careful(Flow[dict[str, Any]]):
        @start()
        @human_feedback(message="Send it?", provider=Asks())
        def letter(self) -> str:
            """Return the text to review."""
            return "Dear customer"

    Careful(persistence=SQLiteFlowPersistence(str(tmp_path / "flows.db"))).kickoff()
    trace = traces.one()
    assert {span["metadata"].get("outcome") for span in trace.spans} == {"interrupted"}
    assert (trace.body["status"], trace.body["metadata"]["outcome"]) == ("COMPLETED", "interrupted")
