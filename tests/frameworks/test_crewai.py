"""Crews, agents and flows of CrewAI."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import pandaprobe_otel
from agent_traces import SentTraces
from framework_cases import AT_THE_CLIENT, CONFORMANCE, AgentApp, StartModel
from pandaprobe_otel.demo.scripted_endpoint import Reply, ScriptedEndpoint, ToolCall
from pandaprobe_otel_integrations.crewai import CrewAIAdapter
from weather_crews import forecaster, model_of, station
from weather_model import WEATHER, weather_model

from crewai import Agent, BaseLLM, Crew, Task  # isort: skip  # after `weather_crews`, which configures CrewAI
from crewai.flow import human_feedback  # isort: skip
from crewai.flow.async_feedback import HumanFeedbackPending  # isort: skip
from crewai.flow.flow import Flow, listen, router, start  # isort: skip
from crewai.flow.persistence import SQLiteFlowPersistence  # isort: skip
from crewai.tools import tool  # isort: skip


async def ask(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
    """Ask a crew with this tool."""
    await station(model_of(endpoint), question, function).akickoff()


def kickoff(endpoint: ScriptedEndpoint, question: str, function: Any, **options: Any) -> None:
    """Ask without an event loop, although the model may stream."""
    station(model_of(endpoint, **options), question, function).kickoff()


def kickoff_async(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
    """Ask in a thread, which no cancellation reaches, from an event loop."""
    asyncio.run(station(model_of(endpoint), question, function).kickoff_async())


def streamed(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
    """Read the answer piece by piece."""
    crew = station(model_of(endpoint), question, function)
    crew.stream = True
    assert len(list(crew.kickoff())) > 2


async def streamed_async(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
    """Read the answer piece by piece in an event loop."""
    crew = station(model_of(endpoint), question, function)
    crew.stream = True
    assert len([piece async for piece in await crew.akickoff()]) > 2


async def leave(endpoint: ScriptedEndpoint) -> None:
    """Stop reading a streamed run after its first text."""
    crew = station(model_of(endpoint), "Hi")
    crew.stream = True
    async with aclosing(await crew.akickoff()) as pieces:  # otherwise, the run goes on to its end
        async for piece in pieces:
            if piece.content:
                break


APP = AgentApp(
    run=ask,
    ways=[kickoff, partial(kickoff, stream=True), kickoff_async, streamed, streamed_async],
    leaves=[leave],
    name="crewai",
    package="crewai",
    tree="""
        trace station | COMPLETED | Weather in Łódź? > The station says: sunny
        CHAIN station | u > a
          CHAIN report | {description,expected_output} > "The station says: sunny"
            AGENT forecaster | u > a
              LLM chat gpt-5-mini @gpt-5-mini | su > c
              TOOL weather | {"city":"Łódź"} > "sunny"
              LLM chat gpt-5-mini @gpt-5-mini | suct > a
    """,
    adapter=CrewAIAdapter,
    example="crewai_crew",
)


@CONFORMANCE
def test_conformance(check: Any, traces: SentTraces, model: StartModel) -> None:
    """CrewAI's crews are recorded as those of every framework."""
    check(APP, traces, model)


@pytest.mark.parametrize("check", AT_THE_CLIENT)
def test_a_model_of_anthropic(check: Any, traces: SentTraces, model: StartModel) -> None:
    """Crews with CrewAI's client of Anthropic are recorded alike."""

    async def run(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
        llm = model_of(endpoint, model="anthropic/claude-sonnet-4-5", base_url=endpoint.url)
        await station(llm, question, function).akickoff()

    tree = APP.tree.replace("gpt-5-mini", "claude-sonnet-4-5")
    check(replace(APP, run=run, ways=(), tree=tree), traces, model)


def test_a_retry_is_another_run_of_the_agent(traces: SentTraces, model: StartModel) -> None:
    """Both attempts of a retried task are agent runs below the same task, whatever scope CrewAI's events report."""
    crew = station(model_of(model(weather_model)), "Weather in Nowhere?")
    crew.agents[0].max_retry_limit = 1
    with pytest.raises(Exception, match="There is no Nowhere"):
        crew.kickoff()

    trace = traces.one()
    assert [span["kind"] for span in trace.children(trace.only("CHAIN", "report"))] == ["AGENT", "AGENT"]
    assert len(trace.all("LLM")) == 2


def delegating(messages: Any) -> Reply:
    """Delegate as the boss; answer as the coworker, who looks the weather up."""
    first, last = messages[0], messages[-1]
    if "boss" in str(first["content"]) and last["role"] == "user":
        arguments = {"task": "Weather in Łódź?", "context": "", "coworker": "expert"}
        return Reply(tool_calls=(ToolCall(name="delegate_work_to_coworker", arguments=arguments),))
    return weather_model(messages)


def test_delegation(traces: SentTraces, model: StartModel) -> None:
    """A coworker is an AGENT span below the tool call that delegates to it."""
    endpoint = model(delegating)
    llm = model_of(endpoint)
    boss = forecaster(llm, role="boss", tools=[], allow_delegation=True)
    task = Task(name="ask", description="Find out.", expected_output="One sentence", agent=boss)
    Crew(name="station", agents=[boss, forecaster(llm, role="expert")], tasks=[task]).kickoff()

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    given = '{"task":"Weather in Łódź?","context":"","coworker":"expert"}'
    trace.is_like(f"""
        trace station | COMPLETED | Find out. > The station says: The station says: sunny
        CHAIN station | u > a
          CHAIN ask | {{description,expected_output}} > "The station says: The station says: sunny"
            AGENT boss | u > a
              LLM chat gpt-5-mini @gpt-5-mini | su > c
              TOOL delegate_work_to_coworker | {given} > "The station says: sunny"
                AGENT expert | u > a
                  LLM chat gpt-5-mini @gpt-5-mini | su > c
                  TOOL weather | {{"city":"Łódź"}} > "sunny"
                  LLM chat gpt-5-mini @gpt-5-mini | suct > a
              LLM chat gpt-5-mini @gpt-5-mini | suct > a
    """)


def test_tasks_at_once_are_in_their_crew(traces: SentTraces, model: StartModel) -> None:
    """Tasks that run in parallel threads are below the crew, and their agents below the tasks."""
    endpoint = model(weather_model)
    agents = {name: forecaster(model_of(endpoint), role=name) for name in (*WEATHER, "last")}

    def task(name: str, question: str, **options: Any) -> Any:
        return Task(name=name, description=question, expected_output="A word", agent=agents[name], **options)

    tasks = [task(city, f"Weather in {city}?", async_execution=True) for city in WEATHER]
    Crew(name="station", agents=[*agents.values()], tasks=[*tasks, task("last", "Hi")]).kickoff()

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert {span["name"] for span in trace.children(trace.root)} == {*agents}
    for city in WEATHER:
        below = trace.below(trace.only("CHAIN", city))
        assert [span["kind"] for span in below] == ["AGENT", "LLM", "TOOL", "LLM"]
        assert below[2]["input"] == {"city": city}


def test_an_agent_alone(traces: SentTraces, model: StartModel) -> None:
    """An agent can run without a crew; the app's spans in a tool are below the tool."""
    endpoint = model(weather_model)

    @tool("weather")
    def look_up(city: str) -> str:
        """Tell the weather in a city."""
        with pandaprobe_otel.span("look up"):
            return WEATHER[city]

    agent = forecaster(model_of(endpoint), tools=[look_up])
    agent.kickoff("Weather in Oslo?")
    asyncio.run(agent.kickoff_async([{"role": "user", "content": "Weather in Oslo?"}]))

    for trace in traces.new(2):
        trace.is_like("""
            trace forecaster | COMPLETED | Weather in Oslo? > The station says: snowy
            AGENT forecaster | u > a
              LLM chat gpt-5-mini @gpt-5-mini | su > c
              TOOL weather | {"city":"Oslo"} > "snowy"
                OTHER look up
              LLM chat gpt-5-mini @gpt-5-mini | suct > a
        """)


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


@pytest.mark.parametrize("awaited", [False, True])
def test_a_flow_is_one_tree(awaited: bool, traces: SentTraces, model: StartModel) -> None:
    """A flow's methods are steps with their crews and agents below; flows inside CrewAI's own agents are left out."""
    endpoint = model(weather_model)
    flow, inputs = report(endpoint), {"city": "Oslo"}
    _ = asyncio.run(flow.kickoff_async(inputs=inputs)) if awaited else flow.kickoff(inputs=inputs)

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
    states = {span["name"]: span["status"] for span in trace.spans}
    assert states == {"Report": "ERROR", "choose": "OK", "is_known": "OK", "give_up": "ERROR"}
    assert "no such city" in trace.only(name="give_up")["error"]


def test_flows_with_one_id_are_one_session(traces: SentTraces, model: StartModel) -> None:
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
