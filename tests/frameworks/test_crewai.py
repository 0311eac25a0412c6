"""Crews and agents of CrewAI."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import pandaprobe_otel
from agent_traces import SentTraces
from framework_cases import StartModel
from pandaprobe_otel.demo.completions import Message, Reply, ToolCall
from weather_crews import forecaster, model_of, station
from weather_model import WEATHER, weather_model

from crewai import Crew, Process, Task  # isort: skip  # after `weather_crews`, which configures CrewAI
from crewai.tools import tool  # isort: skip


def kickoff(crew: Any) -> None:
    """Wait for the answer."""
    crew.kickoff()


def kickoff_async(crew: Any) -> None:
    """Run in a thread, from an event loop."""
    asyncio.run(crew.kickoff_async())


def akickoff(crew: Any) -> None:
    """Run in an event loop."""
    asyncio.run(crew.akickoff())


def streamed(crew: Any) -> None:
    """Read the answer piece by piece."""
    crew.stream = True
    assert len(list(crew.kickoff())) > 2


def streamed_async(crew: Any) -> None:
    """Read the answer piece by piece in an event loop."""
    crew.stream = True

    async def consume() -> int:
        return len([piece async for piece in await crew.akickoff()])

    assert asyncio.run(consume()) > 2


@pytest.mark.parametrize("way", [kickoff, kickoff_async, akickoff, streamed, streamed_async])
def test_a_crew_is_one_tree(way: Callable[[Any], None], traces: SentTraces, model: StartModel) -> None:
    """Every way to run the crew makes the same tree; each model call is one span."""
    endpoint = model(weather_model)
    way(station(model_of(endpoint), "Weather in Oslo?"))

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    trace.is_like("""
        trace station | COMPLETED | Weather in Oslo? > The station says: snowy
        CHAIN station | u > a
          CHAIN report | {description,expected_output} > "The station says: snowy"
            AGENT forecaster | u > a
              LLM chat gpt-5-mini @gpt-5-mini | su > c
              TOOL weather | {"city":"Oslo"} > "snowy"
              LLM chat gpt-5-mini @gpt-5-mini | suct > a
    """)


def test_what_the_spans_tell(traces: SentTraces, model: StartModel) -> None:
    """Messages, tools and ids in the spans match those sent over the wire."""
    endpoint = model(weather_model)
    station(model_of(endpoint, temperature=0.5), "Weather in Oslo?").kickoff()

    trace = traces.one()
    told = trace.all("LLM")[1]
    wire_id = endpoint.exchanges[1].conversation[-1]["tool_call_id"]
    (_, user, assistant, result) = told["input"]["messages"]
    assert "Weather in Oslo?" in user["content"]
    assert (assistant["tool_calls"][0]["id"], result["tool_call_id"], result["content"]) == (wire_id, wire_id, "snowy")
    assert trace.only("TOOL")["metadata"]["tool_call_id"] == wire_id
    assert (told["model_parameters"]["temperature"], told["metadata"]["tools"][0]["name"]) == (0.5, "weather")
    assert (told["metadata"]["provider"], told["metadata"]["agent_name"]) == ("openai", "forecaster")
    assert {span["metadata"]["scope"] for span in trace.spans} == {"pandaprobe_otel.crewai"}


def test_streaming_tells_when_the_answer_began(traces: SentTraces, model: StartModel) -> None:
    """A streamed model call has the time of its first token, even if nobody reads the crew's stream."""
    station(model_of(model(weather_model), stream=True), "Hi").kickoff()

    told = traces.one().only("LLM")
    assert told["started_at"] <= told["completion_start_time"] <= told["ended_at"]


def test_a_model_of_anthropic(traces: SentTraces, model: StartModel) -> None:
    """With CrewAI's Anthropic client, each call is one span, and tool calls have their ids."""
    endpoint = model(weather_model)
    station(
        model_of(endpoint, model="anthropic/claude-sonnet-4-5", base_url=endpoint.url), "Weather in Oslo?"
    ).kickoff()

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    asks, tool_span, answers = trace.children(trace.only("AGENT"))
    (call,) = asks["output"]["messages"][0]["tool_calls"]
    assert (call["function"]["name"], tool_span["metadata"]["tool_call_id"]) == ("weather", call["id"])
    assert answers["output"]["messages"][0]["content"] == "The station says: snowy"
    assert answers["metadata"]["provider"] == "anthropic"


@pytest.mark.parametrize("way", [kickoff, akickoff, streamed])
def test_a_model_that_refuses(way: Callable[[Any], None], traces: SentTraces, model: StartModel) -> None:
    """A refused model call raises in the app, and every span ends with that error; each call has one span."""
    endpoint = model(weather_model)
    with pytest.raises(Exception, match="There is no Nowhere"):
        way(station(model_of(endpoint), "Weather in Nowhere?"))

    trace = traces.one()
    assert [(span["kind"], span["status"]) for span in trace.spans] == [
        ("CHAIN", "ERROR"),
        ("CHAIN", "ERROR"),
        ("AGENT", "ERROR"),
        ("LLM", "ERROR"),
    ]
    assert trace.body["status"] == "ERROR"
    assert all("There is no Nowhere" in span["error"] and "ended_at" in span for span in trace.spans)


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


def test_a_hierarchical_crew(traces: SentTraces, model: StartModel) -> None:
    """The manager that CrewAI creates is the agent of the task."""
    endpoint = model(weather_model)
    llm = model_of(endpoint)
    task = Task(name="ask", description="Hi", expected_output="One sentence")
    Crew(
        name="station", agents=[forecaster(llm)], tasks=[task], process=Process.hierarchical, manager_llm=llm
    ).kickoff()

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert "Manager" in trace.only("AGENT")["name"]


def test_tasks_at_once_are_in_their_crew(traces: SentTraces, model: StartModel) -> None:
    """Tasks that run in parallel threads are below the crew, and their agents below the tasks."""
    endpoint = model(weather_model)
    llm = model_of(endpoint)
    cities = ["Oslo", "Łódź"]
    agents = [forecaster(llm, role=f"expert of {city}") for city in cities]
    tasks = [
        Task(name=city, description=f"Weather in {city}?", expected_output="A word", agent=agent, async_execution=True)
        for city, agent in zip(cities, agents, strict=True)
    ]
    last = Task(name="sum up", description="Hi", expected_output="A word", agent=agents[0])
    Crew(name="station", agents=agents, tasks=[*tasks, last]).kickoff()

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert sorted(span["name"] for span in trace.children(trace.root)) == ["Oslo", "sum up", "Łódź"]
    for city in cities:
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


def test_two_turns_are_one_session(traces: SentTraces, model: StartModel) -> None:
    """Both traces have the session that the app sets."""
    llm = model_of(model(weather_model))
    with pandaprobe_otel.session("talk-1"):
        for asked in ("Hi", "Weather in Oslo?"):
            station(llm, asked).kickoff()

    assert [trace.body["session_id"] for trace in traces.new(2)] == ["talk-1", "talk-1"]


def test_memory_of_messages_is_not_needed(traces: SentTraces, model: StartModel) -> None:
    """A model call outside any agent is a trace of one span."""
    endpoint = model(weather_model)
    message: Message = {"role": "user", "content": "Hi"}
    model_of(endpoint).call([message])

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    trace.is_like("""
        trace chat gpt-5-mini | COMPLETED | Hi > You said: Hi
        LLM chat gpt-5-mini @gpt-5-mini | u > a
    """)
