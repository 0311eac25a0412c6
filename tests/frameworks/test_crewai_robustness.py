"""Concurrency, growth, cancellation and uninstrumenting of CrewAI."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from agent_traces import SentTraces
from example_runs import Example
from framework_cases import (
    CITIES,
    CUTS,
    OFFICIAL,
    AgentApp,
    StartModel,
    do_not_mix,
    growth_of_ours,
    in_tasks,
    in_threads,
    instrumented_with,
    is_of_the_official_adapter,
    off,
    parcel_talk,
    recorded_apart,
    told_by,
)
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel_integrations._runs import OpenRuns
from pandaprobe_otel_integrations.crewai import CrewAIAdapter, CrewAIInstrumentor
from weather_crews import forecaster, model_of, station
from weather_model import weather_model

from crewai import Agent, BaseLLM, Crew, Task  # isort: skip  # after `weather_crews`, which configures CrewAI
from crewai.events.event_bus import CrewAIEventsBus  # isort: skip
from crewai.tools import tool  # isort: skip


def open_runs() -> OpenRuns:
    """Return the runs that are open."""
    return CrewAIInstrumentor()._listener.runs


@pytest.fixture(autouse=True)
def nothing_is_left_open(traces: SentTraces) -> Iterator[None]:
    """Check after each test that no step is open."""
    yield
    assert len(open_runs()) == 0


async def asked(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
    """Ask a crew with this tool."""
    crew = station(model_of(endpoint), question)
    crew.agents[0].tools = crew.tasks[0].tools = [tool(function)]
    await crew.akickoff()


async def leave(endpoint: ScriptedEndpoint) -> None:
    """Stop reading a streamed run after its first text."""
    crew = station(model_of(endpoint), "Hi", stream=True)
    async with aclosing(await crew.akickoff()) as pieces:  # otherwise, the run goes on to its end
        async for piece in pieces:
            if piece.content:
                break


@CUTS
def test_a_run_that_is_cut_short(cut: Any, traces: SentTraces, model: StartModel) -> None:
    """A run that is cancelled, left or refused is one trace with the true status and outcome."""
    cut(AgentApp(run=asked, leave=leave), traces, model)


@pytest.mark.parametrize("together", ["threads", "tasks"])
def test_runs_at_once_do_not_mix(together: str, traces: SentTraces, model: StartModel) -> None:
    """Each of several concurrent crews is a separate, complete trace with no spans of the others."""
    endpoint = model(weather_model)

    def crew(city: str) -> Crew:
        return station(model_of(endpoint), f"Weather in {city}?")

    if together == "tasks":
        in_tasks(lambda city: crew(city).akickoff())
    else:
        in_threads(lambda city: crew(city).kickoff())

    do_not_mix(traces.new(len(CITIES)), "CHAIN", "CHAIN", "AGENT", "LLM", "LLM", "TOOL")


def test_many_runs_do_not_grow(traces: SentTraces, model: StartModel) -> None:
    """Neither a successful nor a failed run leaves any of our objects behind; CrewAI's events leave some of its own."""
    endpoint = model(weather_model)
    llm = model_of(endpoint)
    agents = [forecaster(llm), forecaster(llm, max_retry_limit=0)]

    def runs(count: int) -> None:
        for number in range(count):
            if number % 5:
                agents[0].kickoff("Hi")
            else:
                with pytest.raises(Exception, match="Nowhere"):
                    agents[1].kickoff("Weather in Nowhere?")

    with instrumented_with("crewai", tracer_provider=TracerProvider(shutdown_on_exit=False)):
        assert growth_of_ours(runs, 15, first=5) == {}


@pytest.fixture
def adapter() -> Iterator[CrewAIAdapter]:
    """An adapter; its values are removed after the test."""
    yield CrewAIAdapter(**OFFICIAL)
    CrewAIInstrumentor().values = None


def test_the_adapter_of_the_official_sdk(adapter: CrewAIAdapter, traces: SentTraces, model: StartModel) -> None:
    """The trace has the adapter's session, user, tags and metadata; the run is recorded once."""
    adapter.instrument()
    endpoint = model(weather_model)
    station(model_of(endpoint), "Hi").kickoff()

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    is_of_the_official_adapter(trace)


def test_uninstrumenting_puts_everything_back(traces: SentTraces, model: StartModel) -> None:
    """Uninstrumenting restores CrewAI's methods; then only the client makes spans."""
    hooked = [(CrewAIEventsBus, "emit"), (Crew, "kickoff"), (Crew, "akickoff"), (Agent, "kickoff")]
    wrapped = [vars(owner)[name] for owner, name in hooked]
    with off("crewai"):
        for (owner, name), was in zip(hooked, wrapped, strict=True):
            assert vars(owner)[name] is was.__wrapped__
        station(model_of(model(weather_model)), "Hi").kickoff()
        assert [span["kind"] for span in traces.one().spans] == ["LLM"]


def test_content_is_left_out_when_it_is_not_wanted(traces: SentTraces, model: StartModel) -> None:
    """With `capture_content=False`, spans have names, models and tokens, but no content."""
    llm = model_of(model(weather_model))
    with recorded_apart("crewai", capture_content=False) as recorded:
        with pytest.raises(Exception, match="Nowhere"):
            station(llm, "Weather in Nowhere?").kickoff()
        station(llm, "Weather in Oslo?").kickoff()
        station(llm, "Weather in Atlantis?").kickoff()

    told = told_by(recorded)
    assert len(recorded.spans) == 16
    assert "gen_ai.usage.input_tokens" in told
    assert [word for word in ("Oslo", "snowy", "Nowhere", "Atlantis", "station says") if word in told] == []


def test_a_model_of_the_apps_own(traces: SentTraces) -> None:
    """A model that emits no events has no span, and the spans around it are complete."""

    class Parrot(BaseLLM):
        def call(self, messages: Any, *args: Any, **kwargs: Any) -> str:
            return "Squawk"

    agent = Agent(role="parrot", goal="Repeat.", backstory="A bird.", llm=Parrot(model="parrot"))
    task = Task(name="repeat", description="Hi", expected_output="A word", agent=agent)
    Crew(name="cage", agents=[agent], tasks=[task]).kickoff()

    trace = traces.one()
    assert [span["name"] for span in trace.spans] == ["cage", "repeat", "parrot"]
    assert trace.body["output"]["messages"][0]["content"] == "Squawk"


def test_the_example(traces: SentTraces, model: StartModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example, without a key, makes two turns of one session, one with a tool and one without."""
    example = Example("crewai_crew")
    endpoint = model(example.script)
    example.run(endpoint, monkeypatch)

    asked, thanked = parcel_talk(traces)
    asked.is_sound(endpoint.exchanges[:2])
    thanked.is_sound(endpoint.exchanges[2:])
    assert asked.body["session_id"] == "conversation-1"
