"""Agents and teams of Agno."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import Any

import pytest
from agno.agent import Agent
from agno.db.in_memory import InMemoryDb
from agno.exceptions import StopAgentRun
from agno.media import Image
from agno.models.openai import OpenAIChat
from agno.team import Team
from agno.team.mode import TeamMode
from agno.tools import tool as agno_tool
from agno.workflow import Parallel, Step, StepOutput, Workflow
from agno.workflow.types import HumanReview, OnError

import pandaprobe_otel
from agent_traces import SentTraces
from framework_cases import (
    CONFORMANCE,
    AgentApp,
    StartModel,
    growth_of_ours,
    recorded_apart,
)
from library_members import needs
from pandaprobe_otel.demo.scripted_endpoint import Reply, ScriptedEndpoint, ToolCall, text_of
from pandaprobe_otel.mapping import map_trace
from planting import Planted
from weather_model import WEATHER, weather, weather_model

Ask = Callable[..., str]
# Agno does not close its async clients' connections; the garbage collector finds them while any other code runs.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


def openai(endpoint: ScriptedEndpoint) -> OpenAIChat:
    """A model whose client has its own instrumentation."""
    return OpenAIChat(id="gpt-5-mini", base_url=endpoint.base_url, api_key="any", max_retries=0)


def forecaster(endpoint: ScriptedEndpoint, *tools: Any, **options: Any) -> Agent:
    """An agent that knows the weather."""
    given = {"instructions": "You know weather.", "tools": list(tools) or [weather], **options}
    return Agent(name="forecaster", model=openai(endpoint), telemetry=False, **given)


def answer(agent: Any, *task: str, method: str = "run", **options: Any) -> str:
    """Return the answer of a method of an agent, team or workflow; of a stream, the joined pieces."""
    call = partial(getattr(agent, method), *task, **options)

    async def finished() -> Any:
        return [event async for event in call()] if "stream" in options else await call()

    found = asyncio.run(finished()) if method.startswith("a") else call()
    if "stream" not in options:
        return str(found.content)
    return "".join(event.content or "" for event in found if "RunContent" in event.event)


def ways_of(*methods: str, **streaming: Any) -> Any:
    """Return a parameter: these methods, each with and without a stream."""
    ways = [partial(answer, method=method, **how) for method in methods for how in ({}, streaming)]
    return pytest.mark.parametrize("ask", ways)


ways = ways_of("run", "arun", stream=True)
sync_ways = ways_of("run", stream=True)


async def run(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
    """Ask an agent with this tool."""
    await forecaster(endpoint, function).arun(question)


def blocking(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
    """Ask without an event loop."""
    forecaster(endpoint, function).run(question)


def blocking_streamed(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
    """Ask without an event loop, and read all events."""
    assert [*forecaster(endpoint, function).run(question, stream=True)]


async def run_streamed(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
    """Ask an agent with this tool, and read all events."""
    assert [event async for event in forecaster(endpoint, function).arun(question, stream=True)]


async def leave(endpoint: ScriptedEndpoint) -> None:
    """Stop reading a streamed run after its first text."""
    async for event in forecaster(endpoint).arun("Hi", stream=True):
        if event.content:
            break


APP = AgentApp(
    run=run,
    ways=[run_streamed, blocking, blocking_streamed],
    leaves=[leave],
    passes_refusals=False,
    name="agno",
    package="agno",
    tree="""
        trace forecaster | COMPLETED | session SESSION | Weather in Łódź? > The station says: sunny
        AGENT forecaster | u > a
          LLM chat gpt-5-mini @gpt-5-mini | su > c
          TOOL weather | {"city":"Łódź"} > "sunny"
          LLM chat gpt-5-mini @gpt-5-mini | suct > a
    """,
    rivals={"openinference.instrumentation.agno:AgnoInstrumentor": "skipped: OpenInference records"},
)


@CONFORMANCE
def test_conformance(check: Any, traces: SentTraces, model: StartModel) -> None:
    """Agno's agents are recorded as those of every framework."""
    check(APP, traces, model)


@sync_ways
def test_a_tool_that_stops_the_agent(ask: Ask, traces: SentTraces, model: StartModel) -> None:
    """An exception with which a tool stops the agent is not recorded as an error."""

    def weather(city: str) -> str:
        """Tell the weather in a city."""
        raise StopAgentRun(f"ask {city} yourself")

    ask(forecaster(model(weather_model), weather), "Weather in Oslo?")

    trace = traces.one()
    assert [(span["kind"], span["status"]) for span in trace.spans] == [("AGENT", "OK"), ("LLM", "OK"), ("TOOL", "OK")]


def delegating(task: str) -> Any:
    """Return a model that gives this task to the team's member as the leader, and answers as the member."""

    def script(messages: Any) -> Reply:
        if "delegate" not in text_of(messages[0]["content"]):
            return weather_model(messages)
        if messages[-1]["role"] == "tool":
            return Reply(text="Snow, they say.")
        arguments = {"member_id": "forecaster", "task": task}
        return Reply(tool_calls=(ToolCall(name="delegate_task_to_member", arguments=arguments),))

    return script


@ways
def test_a_team(ask: Ask, traces: SentTraces, model: StartModel) -> None:
    """A team's member is an AGENT span below the tool call with which the leader delegates."""
    endpoint = model(delegating("Weather in Oslo?"))
    team = Team(name="office", model=openai(endpoint), members=[forecaster(endpoint)], telemetry=False)
    text = ask(team, "How is it?", session_id="s-2")

    assert text.endswith("Snow, they say.")
    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    member = trace.only("AGENT", "forecaster")
    assert [span["name"] for span in trace.above(member)] == ["delegate_task_to_member", "office"]
    assert next(span["name"] for span in trace.above(trace.only("TOOL", "weather"))) == "forecaster"
    assert "The station says: snowy" in str(trace.only("TOOL", "delegate_task_to_member")["output"])
    assert (trace.root["status"], trace.body["session_id"]) == ("OK", "s-2")


@ways_of("continue_run", "acontinue_run", stream=True)
def test_a_run_that_waits_for_a_person(ask: Ask, traces: SentTraces, model: StartModel) -> None:
    """A paused run has no error; the continued run is another trace of the session."""
    careful: Any = agno_tool(requires_confirmation=True)(weather)
    agent = forecaster(model(weather_model), careful, db=InMemoryDb())
    paused = agent.run("Weather in Oslo?", session_id="s-3")
    for requirement in paused.active_requirements:
        requirement.confirm()
    text = ask(agent, run_id=paused.run_id, session_id="s-3", requirements=paused.requirements)

    assert text == "The station says: snowy"
    first, second = traces.new(2)
    assert first.body["session_id"] == second.body["session_id"] == "s-3"
    assert [(span["kind"], span["status"]) for span in first.spans] == [("AGENT", "UNSET"), ("LLM", "OK")]
    assert first.body["metadata"]["outcome"] == first.root["metadata"]["outcome"] == "interrupted"
    assert [span["kind"] for span in second.children(second.root)] == ["TOOL", "LLM"]
    assert (second.root["kind"], second.root["status"]) == ("AGENT", "OK")
    assert "The station says: snowy" in str(second.root["output"])


@pytest.mark.parametrize("method", ["run", "arun"])
def test_memories_are_made_within_the_run(method: str, traces: SentTraces, model: StartModel) -> None:
    """Model calls that make memories are part of the run, although Agno makes them in another thread or task."""
    endpoint = model(weather_model)
    agent = forecaster(endpoint, db=InMemoryDb(), update_memory_on_run=True)
    answer(agent, "Hi", method=method, user_id="u-1")

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert [span["kind"] for span in trace.children(trace.root)] == ["LLM", "LLM"]


def test_a_member_of_a_team_that_fails(traces: SentTraces, model: StartModel) -> None:
    """A failed team member's span has status ERROR; the leader continues, and its span is OK."""
    endpoint = model(delegating("Weather in Nowhere?"))
    answer(Team(name="office", model=openai(endpoint), members=[forecaster(endpoint)], telemetry=False), "Well?")

    trace = traces.one()
    assert trace.only("AGENT", "forecaster")["status"] == "ERROR"
    assert trace.root["status"] == "OK"


@needs("agno", "3.1.4", "context of the caller in the threads of a team's tasks")
def test_members_in_parallel_threads(traces: SentTraces, model: StartModel) -> None:
    """Members that a team runs in parallel are below the tool call that runs them, each with its own tools."""

    def script(messages: Any) -> Reply:
        if "You know weather." in text_of(messages[0]["content"]):
            return weather_model(messages)
        results = [text_of(message["content"]) for message in messages if message["role"] == "tool"]
        if not results:
            tasks = [
                {"title": city, "description": f"Weather in {city}?", "assignee": "forecaster"} for city in WEATHER
            ]
            return Reply(tool_calls=tuple(ToolCall(name="create_task", arguments=task) for task in tasks))
        if len(results) == len(WEATHER):
            ids = re.findall(r"Task created: \[(\w+)\]", " ".join(results))
            return Reply(tool_calls=(ToolCall(name="execute_tasks_parallel", arguments={"task_ids": ids}),))
        if len(results) == len(WEATHER) + 1:
            return Reply(tool_calls=(ToolCall(name="mark_all_complete", arguments={"summary": "Done."}),))
        return Reply(text="Done.")

    endpoint = model(script)
    member = forecaster(endpoint, instructions="You know weather.")
    team = Team(name="office", model=openai(endpoint), members=[member], mode=TeamMode.tasks, telemetry=False)
    assert answer(team, "How is it?") == "Done."

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    members = trace.all("AGENT", "forecaster")
    assert len(members) == len(WEATHER)
    for each in members:
        assert [span["name"] for span in trace.above(each)] == ["execute_tasks_parallel", "office"]
        (tool,) = [span for span in trace.children(each) if span["kind"] == "TOOL"]
        assert tool["output"] == WEATHER[tool["input"]["city"]]


def forecast(endpoint: ScriptedEndpoint, *more: Any, **options: Any) -> Workflow:
    """A workflow whose first step is an agent."""
    first = Step(name="ask", agent=forecaster(endpoint))
    return Workflow(name="forecast", steps=[first, *more], telemetry=False, **options)


workflow_ways = ways_of("run", "arun", stream=True, stream_events=True)


@workflow_ways
def test_a_workflow(ask: Ask, traces: SentTraces, model: StartModel) -> None:
    """A workflow is one span; the agents of its steps are below it in one trace, even those that run in parallel."""
    endpoint = model(weather_model)
    both = Parallel(Step(name="left", agent=forecaster(endpoint)), Step(name="right", agent=forecaster(endpoint)))
    ask(forecast(endpoint, both), "Weather in Oslo?", session_id="s-4", user_id="u-4")

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert (trace.root["kind"], trace.root["name"], trace.root["status"]) == ("CHAIN", "forecast", "OK")
    assert [(span["kind"], span["name"]) for span in trace.children(trace.root)] == [("AGENT", "forecaster")] * 3
    assert {span["output"] for span in trace.all("TOOL", "weather")} == {"snowy"}
    assert trace.root["input"] == "Weather in Oslo?"
    assert "The station says: snowy" in str(trace.root["output"])
    assert (trace.body["session_id"], trace.body["user_id"]) == ("s-4", "u-4")


@workflow_ways
def test_a_workflow_in_another(ask: Ask, traces: SentTraces, model: StartModel) -> None:
    """A workflow that is a step of another is below the outer workflow's span."""
    endpoint = model(weather_model)
    inner = forecast(endpoint)
    ask(Workflow(name="day", steps=[Step(name="plan", workflow=inner)], telemetry=False), "Weather in Oslo?")

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert [span["name"] for span in trace.above(trace.only("AGENT"))] == ["forecast", "day"]


@workflow_ways
def test_a_workflow_that_fails(ask: Ask, traces: SentTraces, model: StartModel) -> None:
    """A failed step behaves as it would without us; all spans are ended, and the workflow's span has the error."""

    def broken(_step: Any) -> Any:
        raise LookupError("no plan")

    fails = HumanReview(on_error=OnError.fail)
    workflow = forecast(model(weather_model), Step(name="plan", executor=broken, max_retries=0, human_review=fails))
    with contextlib.suppress(LookupError):
        ask(workflow, "Weather in Oslo?")

    trace = traces.one()
    assert (trace.root["name"], trace.root["status"], trace.only("AGENT")["status"]) == ("forecast", "ERROR", "OK")
    assert "no plan" in trace.root["error"]
    assert all("ended_at" in span for span in trace.spans)


@pytest.mark.parametrize("made", [forecaster, forecast])
def test_a_stream_that_the_app_drops(made: Any, traces: SentTraces, model: StartModel) -> None:
    """A stream of an agent or workflow that the app closes early is partial and has no error."""
    events = made(model(weather_model)).run("Weather in Oslo?", stream=True, stream_events=True)
    next(event for event in events if event.event in ("RunStarted", "StepStarted"))
    events.close()

    trace = traces.one()
    assert all("ended_at" in span and span["status"] != "ERROR" for span in trace.spans)
    assert (trace.body["status"], trace.body["metadata"]["outcome"]) == ("COMPLETED", "partial")


def test_a_workflow_that_waits_for_a_person(traces: SentTraces, model: StartModel) -> None:
    """A paused run has no error; the continued run is another trace of the session."""
    endpoint = model(weather_model)
    step = Step(name="ask", agent=forecaster(endpoint), human_review=HumanReview(requires_confirmation=True))
    workflow = Workflow(name="forecast", steps=[step], db=InMemoryDb(), telemetry=False)
    paused = workflow.run("Weather in Oslo?", session_id="s-5")
    for each in paused.step_requirements or []:
        each.confirm()
    workflow.continue_run(paused)

    before, after = traces.new(2)
    assert [trace.body.get("session_id") for trace in (before, after)] == ["s-5", "s-5"]
    assert (before.root["status"], after.root["status"]) == ("UNSET", "OK")
    assert before.body["metadata"]["outcome"] == "interrupted"
    assert [span["name"] for span in after.above(after.only("AGENT"))] == ["forecast"]
    after.is_sound(endpoint.exchanges)


def test_two_turns_are_one_session(traces: SentTraces, model: StartModel) -> None:
    """Two turns share Agno's own session and user, unless the app sets them."""
    agent = forecaster(model(weather_model))
    answer(agent, "Hi")
    answer(agent, "Thanks")
    with pandaprobe_otel.context(session="mine", user="me"):
        answer(agent, "Bye", session_id="agno's", user_id="someone")

    first, second, third = traces.new(3)
    assert first.body["session_id"] == second.body["session_id"] == agent.session_id
    assert (third.body["session_id"], third.body["user_id"]) == ("mine", "me")


def test_a_thousand_workflows_do_not_grow(traces: SentTraces) -> None:
    """A workflow leaves none of our objects behind; with `capture_content=False`, its span has no content."""

    def shout(step_input: Any) -> StepOutput:
        return StepOutput(content=str(step_input.input).upper())

    workflow = Workflow(name="loud", steps=[Step(name="shout", executor=shout)], telemetry=False)

    def runs(count: int) -> None:
        for _ in range(count):
            assert answer(workflow, "Snow", session_id="s") == "SNOW"
            assert recorded.attributes("loud") == {"pandaprobe.span.kind": "CHAIN", "gen_ai.conversation.id": "s"}
            recorded.clear()

    with recorded_apart("agno", capture_content=False) as recorded:
        assert growth_of_ours(runs, 1000, first=50) == {}


@ways
def test_planted_values_that_the_model_never_gets(ask: Ask, traces: SentTraces, model: StartModel) -> None:
    """A run's state, dependencies, metadata and pictures appear in the trace, although the model never gets them."""
    planted = Planted()
    agent = forecaster(
        model(weather_model),
        session_state={"plan": planted["the state"]},
        dependencies={"unit": planted["a dependency"]},
        metadata={"tenant": planted["metadata"]},
    )
    pictures = [
        Image(content=b"a picture", mime_type="image/png"),
        Image(url=f"https://a.test/{planted['an address']}"),
    ]
    with recorded_apart("agno") as recorder:
        ask(agent, planted["the question"], images=pictures)
    assert planted.unrecorded(recorder) == planted.lost(recorder) == []
    assert sha256(b"a picture").hexdigest() in str(map_trace(recorder.spans)["spans"])

    with recorded_apart("agno", capture_content=False) as recorder:
        ask(agent, planted["the question"], images=pictures)
    assert {*planted.unrecorded(recorder)} >= {"the state", "a dependency", "an address", "the question"}
