"""Agents and teams of Agno."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

import pytest
from agno.agent import Agent
from agno.agent import _run as agent_runs
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
from example_runs import run_example
from framework_cases import (
    CUTS,
    AgentApp,
    StartModel,
    growth_of_ours,
    is_silent_beside_another_vendor,
    off,
    parcel_talk,
    recorded_apart,
)
from old_versions import needs
from pandaprobe_otel.demo.completions import Reply, ToolCall, text_of
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.mapping import map_trace
from planting import Planted
from weather_model import WEATHER, weather_model
from weather_model import weather as look_up

Ask = Callable[..., str]
# Agno does not close its async clients' connections; the garbage collector finds them while any other code runs.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


def weather(city: str) -> str:
    """Tell the weather in a city."""
    with pandaprobe_otel.span("look up"):
        return look_up(city)


async def weather_async(city: str) -> str:
    """Tell the weather in a city."""
    await asyncio.sleep(0)
    return weather(city)


weather_async.__name__ = "weather"


def openai(endpoint: ScriptedEndpoint) -> OpenAIChat:
    """A model whose client has its own instrumentation."""
    return OpenAIChat(id="gpt-5-mini", base_url=endpoint.base_url, api_key="any", max_retries=0)


def forecaster(endpoint: ScriptedEndpoint, *tools: Any, **options: Any) -> Agent:
    """An agent that knows the weather."""
    chosen = list(tools) or [weather]
    return Agent(name="forecaster", model=openai(endpoint), tools=chosen, telemetry=False, **options)


def plainly(agent: Any, task: str, **options: Any) -> str:
    """Return the answer."""
    return str(agent.run(task, **options).content)


def streamed(agent: Any, task: str, **options: Any) -> str:
    """Return the answer, read piece by piece."""
    return "".join(
        event.content or "" for event in agent.run(task, stream=True, **options) if "RunContent" in event.event
    )


def awaited(agent: Any, task: str, **options: Any) -> str:
    """Return the answer, awaited in an event loop."""

    async def run() -> str:
        return str((await agent.arun(task, **options)).content)

    return asyncio.run(run())


def async_streamed(agent: Any, task: str, **options: Any) -> str:
    """Return the answer, read piece by piece in an event loop."""

    async def run() -> str:
        events = agent.arun(task, stream=True, **options)
        return "".join([event.content or "" async for event in events if "RunContent" in event.event])

    return asyncio.run(run())


ways = pytest.mark.parametrize("ask", [plainly, streamed, awaited, async_streamed])


@pytest.mark.parametrize(
    ("ask", "tool"),
    [
        (plainly, weather),
        (streamed, weather),
        (awaited, weather),
        (async_streamed, weather),
        (awaited, weather_async),
        (async_streamed, weather_async),
    ],
)
def test_a_run_is_one_tree(ask: Ask, tool: Any, traces: SentTraces, model: StartModel) -> None:
    """Each model call is one LLM span, made by its client; each tool is below the agent."""
    endpoint = model(weather_model)
    answer = ask(forecaster(endpoint, tool), "Weather in Oslo?", session_id="s-1", user_id="u-1")

    assert answer == "The station says: snowy"
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
    assert (trace.body["session_id"], trace.body["user_id"]) == ("s-1", "u-1")
    assert "Weather in Oslo?" in str(trace.root["input"])
    assert "The station says: snowy" in str(trace.root["output"])


@ways
def test_a_tool_that_fails(ask: Ask, traces: SentTraces, model: StartModel) -> None:
    """The failed tool's span has status ERROR; the agent continues, and its span is OK."""
    ask(forecaster(model(weather_model)), "Weather in Atlantis?")

    trace = traces.one()
    tool = trace.only("TOOL", "weather")
    assert (tool["status"], trace.root["status"]) == ("ERROR", "OK")
    assert "no station in Atlantis" in tool["error"]


@pytest.mark.parametrize("streaming", [False, True])
def test_a_tool_that_stops_the_agent(streaming: bool, traces: SentTraces, model: StartModel) -> None:
    """An exception with which a tool stops the agent is not recorded as an error."""

    def weather(city: str) -> str:
        """Tell the weather in a city."""
        raise StopAgentRun(f"ask {city} yourself")

    agent = forecaster(model(weather_model), weather)
    (streamed if streaming else plainly)(agent, "Weather in Oslo?")

    trace = traces.one()
    assert [(span["kind"], span["status"]) for span in trace.spans] == [("AGENT", "OK"), ("LLM", "OK"), ("TOOL", "OK")]


@ways
def test_a_model_that_refuses(ask: Ask, traces: SentTraces, model: StartModel) -> None:
    """Agno raises nothing when the model refuses; the run still has status ERROR, and every span is ended."""
    ask(forecaster(model(weather_model)), "Weather in Nowhere?")

    trace = traces.one()
    assert [(span["kind"], span["status"]) for span in trace.spans] == [("AGENT", "ERROR"), ("LLM", "ERROR")]
    assert "There is no Nowhere." in trace.root["error"]


@ways
def test_an_exception_that_reaches_the_app(ask: Ask, traces: SentTraces, model: StartModel) -> None:
    """An exception that Agno does not handle reaches the app unchanged, and every span is ended."""

    class Halt(BaseException):
        pass

    def weather(city: str) -> str:
        """Tell the weather in a city."""
        raise Halt(city)

    with pytest.raises(Halt, match="Oslo"):
        ask(forecaster(model(weather_model), weather), "Weather in Oslo?")

    trace = traces.one()
    assert [(span["kind"], span["status"]) for span in trace.spans] == [
        ("AGENT", "ERROR"),
        ("LLM", "OK"),
        ("TOOL", "ERROR"),
    ]


@ways
def test_a_team(ask: Ask, traces: SentTraces, model: StartModel) -> None:
    """A team's member is an AGENT span below the tool call with which the leader delegates."""

    def script(messages: Any) -> Reply:
        leads = "delegate" in text_of(messages[0]["content"])
        if not leads:
            return weather_model(messages)
        if messages[-1]["role"] == "tool":
            return Reply(text="Snow, they say.")
        return Reply(
            tool_calls=(
                ToolCall(
                    name="delegate_task_to_member",
                    arguments={"member_id": "forecaster", "task": "Weather in Oslo?"},
                ),
            )
        )

    endpoint = model(script)
    team = Team(name="office", model=openai(endpoint), members=[forecaster(endpoint)], telemetry=False)
    answer = ask(team, "How is it?", session_id="s-2")

    assert answer.endswith("Snow, they say.")
    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    member = trace.only("AGENT", "forecaster")
    assert [span["name"] for span in trace.above(member)] == ["delegate_task_to_member", "office"]
    assert next(span["name"] for span in trace.above(trace.only("TOOL", "weather"))) == "forecaster"
    assert "The station says: snowy" in str(trace.only("TOOL", "delegate_task_to_member")["output"])
    assert (trace.root["status"], trace.body["session_id"]) == ("OK", "s-2")


def continued(agent: Agent, **options: Any) -> str:
    """Continue a paused run and return its answer."""
    return str(agent.continue_run(**options).content)


def continued_as_stream(agent: Agent, **options: Any) -> str:
    """Continue a paused run and return its answer, read piece by piece."""
    return "".join(event.content or "" for event in agent.continue_run(stream=True, **options))


def continued_awaited(agent: Agent, **options: Any) -> str:
    """Continue a paused run and return its answer, awaited in an event loop."""

    async def run() -> str:
        return str((await agent.acontinue_run(**options)).content)

    return asyncio.run(run())


def continued_as_async_stream(agent: Agent, **options: Any) -> str:
    """Continue a paused run and return its answer, read piece by piece in an event loop."""

    async def run() -> str:
        return "".join([event.content or "" async for event in agent.acontinue_run(stream=True, **options)])

    return asyncio.run(run())


@pytest.mark.parametrize("go_on", [continued, continued_as_stream, continued_awaited, continued_as_async_stream])
def test_a_run_that_waits_for_a_person(go_on: Callable[..., str], traces: SentTraces, model: StartModel) -> None:
    """A paused run has no error; the continued run is another trace of the session."""
    careful: Any = agno_tool(requires_confirmation=True)(weather)
    agent = forecaster(model(weather_model), careful, db=InMemoryDb())
    paused = agent.run("Weather in Oslo?", session_id="s-3")
    for requirement in paused.active_requirements:
        requirement.confirm()
    answer = go_on(agent, run_id=paused.run_id, session_id="s-3", requirements=paused.requirements)

    assert answer == "The station says: snowy"
    first, second = traces.new(2)
    assert first.body["session_id"] == second.body["session_id"] == "s-3"
    assert [(span["kind"], span["status"]) for span in first.spans] == [("AGENT", "UNSET"), ("LLM", "OK")]
    assert first.body["metadata"]["outcome"] == first.root["metadata"]["outcome"] == "interrupted"
    assert [span["kind"] for span in second.children(second.root)] == ["TOOL", "LLM"]
    assert (second.root["kind"], second.root["status"]) == ("AGENT", "OK")
    assert "The station says: snowy" in str(second.root["output"])


@pytest.mark.parametrize("ask", [plainly, awaited])
def test_memories_are_made_within_the_run(ask: Ask, traces: SentTraces, model: StartModel) -> None:
    """Model calls that make memories are part of the run, although Agno makes them in another thread or task."""
    endpoint = model(weather_model)
    ask(forecaster(endpoint, db=InMemoryDb(), update_memory_on_run=True), "Hi", user_id="u-1")

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert [span["kind"] for span in trace.children(trace.root)] == ["LLM", "LLM"]


def test_a_member_of_a_team_that_fails(traces: SentTraces, model: StartModel) -> None:
    """A failed team member's span has status ERROR; the leader continues, and its span is OK."""

    def script(messages: Any) -> Reply:
        if "delegate" not in text_of(messages[0]["content"]):
            return weather_model(messages)
        if messages[-1]["role"] == "tool":
            return Reply(text="Nobody knows.")
        asked = {"member_id": "forecaster", "task": "Weather in Nowhere?"}
        return Reply(tool_calls=(ToolCall(name="delegate_task_to_member", arguments=asked),))

    endpoint = model(script)
    plainly(Team(name="office", model=openai(endpoint), members=[forecaster(endpoint)], telemetry=False), "Well?")

    trace = traces.one()
    assert trace.only("AGENT", "forecaster")["status"] == "ERROR"
    assert trace.root["status"] == "OK"


@needs("agno", "3.1.4", "context of the caller in the threads of a team's tasks")
def test_members_in_parallel_threads(traces: SentTraces, model: StartModel) -> None:
    """Members that a team runs in parallel are below the tool call that runs them, each with its own tools."""

    def script(messages: Any) -> Reply:
        if "You know weather." in text_of(messages[0]["content"]):
            return weather_model(messages)
        told = [text_of(message["content"]) for message in messages if message["role"] == "tool"]
        if not told:
            tasks = [
                {"title": city, "description": f"Weather in {city}?", "assignee": "forecaster"} for city in WEATHER
            ]
            return Reply(tool_calls=tuple(ToolCall(name="create_task", arguments=task) for task in tasks))
        if len(told) == len(WEATHER):
            ids = re.findall(r"Task created: \[(\w+)\]", " ".join(told))
            return Reply(tool_calls=(ToolCall(name="execute_tasks_parallel", arguments={"task_ids": ids}),))
        if len(told) == len(WEATHER) + 1:
            return Reply(tool_calls=(ToolCall(name="mark_all_complete", arguments={"summary": "Done."}),))
        return Reply(text="Done.")

    endpoint = model(script)
    member = forecaster(endpoint, instructions="You know weather.")
    team = Team(name="office", model=openai(endpoint), members=[member], mode=TeamMode.tasks, telemetry=False)
    assert plainly(team, "How is it?") == "Done."

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


def workflow_streamed(workflow: Workflow, task: str, **options: Any) -> str:
    """Return the workflow's answer, read from its events."""
    return str(list(workflow.run(task, stream=True, stream_events=True, **options))[-1].content)


def workflow_async_streamed(workflow: Workflow, task: str, **options: Any) -> str:
    """Return the workflow's answer, read from its events in an event loop."""

    async def run() -> str:
        events: Any = workflow.arun(task, stream=True, stream_events=True, **options)
        return str([event async for event in events][-1].content)

    return asyncio.run(run())


workflow_ways = pytest.mark.parametrize("ask", [plainly, workflow_streamed, awaited, workflow_async_streamed])


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


def test_a_workflow_that_the_app_drops(traces: SentTraces, model: StartModel) -> None:
    """A workflow that the app stops reading ends all its spans without an error."""
    events: Any = forecast(model(weather_model)).run("Weather in Oslo?", stream=True, stream_events=True)
    next(event for event in events if event.event == "StepStarted")
    events.close()

    trace = traces.one()
    assert trace.root["name"] == "forecast"
    assert all("ended_at" in span and span["status"] != "ERROR" for span in trace.spans)


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
    plainly(agent, "Hi")
    plainly(agent, "Thanks")
    with pandaprobe_otel.context(session="mine", user="me"):
        plainly(agent, "Bye", session_id="agno's", user_id="someone")

    first, second, third = traces.new(3)
    assert first.body["session_id"] == second.body["session_id"] == agent.session_id
    assert (third.body["session_id"], third.body["user_id"]) == ("mine", "me")


def test_runs_at_once_in_threads_do_not_mix(traces: SentTraces, model: StartModel) -> None:
    """Concurrent runs in threads are separate traces."""
    endpoint = model(weather_model)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda city: plainly(forecaster(endpoint), f"Weather in {city}?"), [*WEATHER] * 2))
    for trace in traces.new(4):
        assert len(trace.all("LLM")) == 2
        assert trace.only("TOOL", "weather")["input"]["city"] in str(trace.root["input"])


def test_streams_at_once_in_tasks_do_not_mix(traces: SentTraces, model: StartModel) -> None:
    """Streams of one agent, read alternately in several tasks, are separate traces."""
    agent = forecaster(model(weather_model))

    async def read(city: str) -> None:
        async for _ in agent.arun(f"Weather in {city}?", stream=True, session_id=city):
            await asyncio.sleep(0)

    async def all_of_them() -> None:
        await asyncio.gather(*map(read, WEATHER))

    asyncio.run(all_of_them())
    for trace in traces.new(2):
        assert len(trace.all("LLM")) == 2
        assert trace.only("TOOL", "weather")["input"]["city"] == trace.body["session_id"]


def test_a_stream_that_the_app_drops(traces: SentTraces, model: StartModel) -> None:
    """A stream that the app closes early is marked as partial and has no error."""
    events: Any = forecaster(model(weather_model)).run("Weather in Oslo?", stream=True)
    next(events)
    events.close()

    trace = traces.one()
    assert all("ended_at" in span for span in trace.spans)
    assert (trace.body["status"], trace.body["metadata"]["outcome"]) == ("COMPLETED", "partial")


async def leave(endpoint: ScriptedEndpoint) -> None:
    """Stop reading a streamed run after its first text."""
    async for event in forecaster(endpoint).arun("Hi", stream=True):
        if event.content:
            break


@CUTS
@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_run_that_is_cut_short(is_streamed: bool, cut: Any, traces: SentTraces, model: StartModel) -> None:
    """A run that is cancelled, left or refused is one trace with the true status and outcome."""

    async def run(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
        agent = forecaster(endpoint, function)
        if is_streamed:
            assert [event async for event in agent.arun(question, stream=True)]
        else:
            await agent.arun(question)

    cut(AgentApp(run=run, leave=leave, passes_refusals=False), traces, model)


def test_many_runs_do_not_grow(traces: SentTraces, model: StartModel) -> None:
    """Neither a successful nor a failed run leaves any of our objects behind."""
    agent = forecaster(model(weather_model))

    def runs(count: int) -> None:
        for number in range(count):
            plainly(agent, "Weather in Nowhere?" if number % 10 == 0 else "Hi", session_id="s")
        traces.new(count)

    assert growth_of_ours(runs, 60, first=20) == {}


def test_a_thousand_workflows_do_not_grow(traces: SentTraces) -> None:
    """A workflow leaves none of our objects behind; with `capture_content=False`, its span has no content."""

    def shout(step_input: Any) -> StepOutput:
        return StepOutput(content=str(step_input.input).upper())

    workflow = Workflow(name="loud", steps=[Step(name="shout", executor=shout)], telemetry=False)

    def runs(count: int) -> None:
        for _ in range(count):
            assert plainly(workflow, "Snow", session_id="s") == "SNOW"
            assert recorded.attributes("loud") == {"pandaprobe.span.kind": "CHAIN", "gen_ai.conversation.id": "s"}
            recorded.clear()

    with recorded_apart("agno", capture_content=False) as recorded:
        assert growth_of_ours(runs, 1000, first=50) == {}


def test_taking_it_off_and_putting_it_on_again(traces: SentTraces, model: StartModel) -> None:
    """Uninstrumenting restores the library; the client's calls are then separate traces."""
    with off("agno"):
        assert not hasattr(agent_runs._run, "__wrapped__")
        assert not hasattr(Workflow._execute, "__wrapped__")
        plainly(forecaster(model(weather_model)), "Weather in Oslo?")
    assert hasattr(agent_runs._run, "__wrapped__")
    assert {trace.root["metadata"].get("scope") for trace in traces.new(3)} >= {"pandaprobe_otel.openai"}


def test_silent_beside_another_vendor(traces: SentTraces, server: LocalServer, model: StartModel) -> None:
    """While OpenInference records the runs, our integration is skipped, and tokens count once."""
    endpoint = model(weather_model)
    is_silent_beside_another_vendor("agno", traces, server, endpoint)


def test_the_example(traces: SentTraces, server: LocalServer) -> None:
    """The example, without a key, makes a tool call and a streamed run in one session."""
    assert run_example("agno_agent", server).splitlines()[-1] == "You are welcome."

    assert parcel_talk(traces)[0].body["session_id"] == "conversation-1"


@ways
@pytest.mark.plants("_run", "_run_stream", "_arun", "_arun_stream", "FunctionCall.execute")
def test_what_is_planted_comes_out(ask: Ask, traces: SentTraces, model: StartModel) -> None:
    """An agent's instructions, input, tool arguments, tool result and answer appear in the trace."""
    planted = Planted()

    def look_up(city: str, unit: str) -> str:
        """Look a city up."""
        return planted.look_up(city, unit)

    agent = forecaster(
        model(planted.script),
        look_up,
        instructions=planted["the instructions"],
        session_state={"plan": planted["the state"]},
        add_session_state_to_context=True,
        metadata={"tenant": planted["metadata of the agent"]},
        dependencies={"unit": planted["a dependency"]},
        add_dependencies_to_context=True,
    )
    ask(agent, planted["the question"])

    assert planted.missing_in(traces.one().body) == []


def test_what_the_model_is_not_told_comes_out(traces: SentTraces, model: StartModel) -> None:
    """A run's state, dependencies and pictures, which the model never receives, appear in the trace."""
    planted = Planted()
    agent = forecaster(
        model(lambda _: Reply(text="Fine.")),
        session_state={"plan": planted["the state"]},
        dependencies={"unit": planted["a dependency"]},
    )
    pictures = [
        Image(content=b"a picture", mime_type="image/png"),
        Image(url=f"https://a.test/{planted['an address']}"),
    ]
    with recorded_apart("agno") as recorder:
        agent.run(planted["the question"], images=pictures)
    assert planted.unrecorded(recorder) == []
    assert planted.lost(recorder) == []
    assert sha256(b"a picture").hexdigest() in str(map_trace(recorder.spans)["spans"])

    with recorded_apart("agno", capture_content=False) as recorder:
        agent.run(planted["the question"], images=pictures)
    assert len(planted.unrecorded(recorder)) == 4
