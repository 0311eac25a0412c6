"""What must hold besides the tree: no mixing, no growth, and going back."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

import pandaprobe_otel
from agent_traces import SentTraces
from example_runs import Example
from pandaprobe_otel.demo.completions import Reply
from pandaprobe_otel.demo.scripted_endpoint import Script, ScriptedEndpoint
from pandaprobe_otel_integrations._runs import OpenRuns
from pandaprobe_otel_integrations.crewai import CrewAIAdapter, CrewAIInstrumentor
from span_recorder import SpanRecorder
from weather_crews import forecaster, model_of, station
from weather_model import WEATHER, weather_model

from crewai import Agent, BaseLLM, Crew, Task  # isort: skip  # after `weather_crews`, which says how
from crewai.events.event_bus import CrewAIEventsBus  # isort: skip
from crewai.tools import tool  # isort: skip

StartModel = Callable[[Script], ScriptedEndpoint]


def open_runs() -> OpenRuns:
    """What has begun and not ended."""
    return CrewAIInstrumentor()._listener.runs


def wait_for_the_end() -> None:
    """Until every step has ended."""
    while len(open_runs()):
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def nothing_is_left_open(traces: SentTraces) -> Iterator[None]:
    """After each test no step is open."""
    yield
    assert len(open_runs()) == 0


class Stopped(BaseException):
    """What a signal handler of an app may raise."""


def test_what_no_event_tells_of(traces: SentTraces, model: StartModel) -> None:
    """An exception that CrewAI does not catch passes unchanged and ends every span; later runs are of their own."""

    @tool("weather")
    def stopping(city: str) -> str:
        """Tell the weather in a city."""
        raise Stopped

    endpoint = model(weather_model)
    crew = station(model_of(endpoint), "Weather in Oslo?")
    crew.tasks[0].tools = [stopping]
    with pytest.raises(Stopped):
        crew.kickoff()
    station(model_of(endpoint), "Hi").kickoff()

    stopped, later = traces.new(2)
    assert {"ended_at" in span for span in stopped.spans} == {True}
    assert [span["kind"] for span in later.spans] == ["CHAIN", "CHAIN", "AGENT", "LLM"]


async def test_a_cancelled_run(traces: SentTraces, model: StartModel) -> None:
    """Its spans are ended and are no errors; the model call, which goes on in a thread, ends with its answer."""
    asked, answer = threading.Event(), threading.Event()

    def slow(messages: Any) -> Reply:
        asked.set()
        answer.wait(20)
        return Reply(text="too late")

    running = asyncio.create_task(station(model_of(model(slow)), "Hi").akickoff())
    await asyncio.to_thread(asked.wait, 20)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    answer.set()
    await asyncio.to_thread(wait_for_the_end)

    trace = traces.one()
    assert [span["kind"] for span in trace.spans] == ["CHAIN", "CHAIN", "AGENT", "LLM"]
    assert "ERROR" not in {span["status"] for span in trace.spans}
    assert {"ended_at" in span for span in trace.spans} == {True}


@pytest.mark.parametrize("together", ["threads", "tasks"])
def test_runs_at_once_do_not_mix(together: str, traces: SentTraces, model: StartModel) -> None:
    """Each of several crews is a trace of its own, complete and with nothing of another's."""
    endpoint = model(weather_model)
    cities = ["Oslo", "Łódź"] * 3
    crews = [station(model_of(endpoint), f"Weather in {city}?") for city in cities]

    async def gathered() -> None:
        await asyncio.gather(*(crew.akickoff() for crew in crews))

    if together == "tasks":
        asyncio.run(gathered())
    else:
        with ThreadPoolExecutor(len(crews)) as pool:
            list(pool.map(lambda crew: crew.kickoff(), crews))

    found = traces.new(len(cities))
    assert sorted(trace.only("TOOL")["input"]["city"] for trace in found) == sorted(cities)
    for trace in found:
        city = trace.only("TOOL")["input"]["city"]
        assert trace.body["input"]["messages"][0]["content"] == f"Weather in {city}?"
        assert trace.body["output"]["messages"][0]["content"] == f"The station says: {WEATHER[city]}"
        assert Counter(span["kind"] for span in trace.spans) == {"CHAIN": 2, "AGENT": 1, "LLM": 2, "TOOL": 1}


@pytest.fixture
def provider(traces: SentTraces) -> Iterator[TracerProvider]:
    """A provider that keeps nothing, which CrewAI is traced with during the test."""
    made = TracerProvider(shutdown_on_exit=False)
    pandaprobe_otel.uninstrument("crewai")
    assert pandaprobe_otel.instrument("crewai", tracer_provider=made).state == "hooked"
    yield made
    pandaprobe_otel.uninstrument("crewai")
    pandaprobe_otel.instrument("crewai")
    made.shutdown()


def test_many_runs_do_not_grow(provider: TracerProvider, model: StartModel) -> None:
    """Well or badly ended, a run of ours leaves no object behind. CrewAI's own events leave some: they are not ours."""
    endpoint = model(weather_model)
    llm = model_of(endpoint)
    agents = [forecaster(llm), forecaster(llm, max_retry_limit=0)]

    def runs(count: int) -> Counter[str]:
        for number in range(count):
            if number % 5:
                agents[0].kickoff("Hi")
            else:
                with pytest.raises(Exception, match="Nowhere"):
                    agents[1].kickoff("Weather in Nowhere?")
        gc.collect()
        kinds = Counter(f"{type(each).__module__}.{type(each).__name__}" for each in gc.get_objects())
        ours = ("pandaprobe_otel_integrations.", "opentelemetry.")
        return Counter({kind: found for kind, found in kinds.items() if kind.startswith(ours)})

    runs(5)
    before = runs(5)
    assert runs(15) - before == {}


@pytest.fixture
def adapter() -> Iterator[CrewAIAdapter]:
    """An adapter, whose values are forgotten afterwards."""
    yield CrewAIAdapter(session_id="s-1", user_id="ada", tags=["beta"], metadata={"team": "x"})
    CrewAIInstrumentor().values = None


def test_the_adapter_of_the_official_sdk(adapter: CrewAIAdapter, traces: SentTraces, model: StartModel) -> None:
    """Its session, user, tags and metadata are the trace's; the run is recorded once."""
    adapter.instrument()
    endpoint = model(weather_model)
    station(model_of(endpoint), "Hi").kickoff()

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    body = trace.body
    assert (body["session_id"], body["user_id"], body["tags"]) == ("s-1", "ada", ["beta"])
    assert body["metadata"]["team"] == "x"


def test_uninstrumenting_puts_everything_back(traces: SentTraces, model: StartModel) -> None:
    """CrewAI's methods are the ones from before, and only the client's own spans are made."""
    hooked = [(CrewAIEventsBus, "emit"), (Crew, "kickoff"), (Crew, "akickoff"), (Agent, "kickoff")]
    wrapped = [vars(owner)[name] for owner, name in hooked]
    pandaprobe_otel.uninstrument("crewai")
    try:
        for (owner, name), was in zip(hooked, wrapped, strict=True):
            assert vars(owner)[name] is was.__wrapped__
        station(model_of(model(weather_model)), "Hi").kickoff()
        assert [span["kind"] for span in traces.one().spans] == ["LLM"]
    finally:
        assert pandaprobe_otel.instrument("crewai").state == "hooked"


def test_content_is_left_out_when_it_is_not_wanted(traces: SentTraces, model: StartModel) -> None:
    """With `capture_content=False` the spans have names, models and tokens, and nothing that was said."""
    recorder = SpanRecorder()
    pandaprobe_otel.uninstrument("crewai")
    pandaprobe_otel.instrument("crewai", tracer_provider=recorder.provider, capture_content=False)
    try:
        llm = model_of(model(weather_model))
        with pytest.raises(Exception, match="Nowhere"):
            station(llm, "Weather in Nowhere?").kickoff()
        station(llm, "Weather in Oslo?").kickoff()
        station(llm, "Weather in Atlantis?").kickoff()
    finally:
        pandaprobe_otel.uninstrument("crewai")
        pandaprobe_otel.instrument("crewai")

    told = str([(span.name, dict(span.attributes or {}), span.status.description) for span in recorder.spans])
    assert len(recorder.spans) == 16
    assert "gen_ai.usage.input_tokens" in told
    assert [word for word in ("Oslo", "snowy", "Nowhere", "Atlantis", "station says") if word in told] == []


def test_a_model_of_the_apps_own(traces: SentTraces) -> None:
    """One that emits no events has no span; the run around it is as it is."""

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
    """Without a key: two turns of one session, one with a tool and one without."""
    example = Example("crewai_crew")
    endpoint = model(example.script)
    example.run(endpoint, monkeypatch)

    asked, thanked = traces.new(2)
    asked.is_sound(endpoint.exchanges[:2])
    thanked.is_sound(endpoint.exchanges[2:])
    assert {trace.body["session_id"] for trace in (asked, thanked)} == {"conversation-1"}
    assert asked.only("TOOL")["input"] == {"parcel": "P-4711"}
    assert thanked.body["output"]["messages"][0]["content"] == "You are welcome."
