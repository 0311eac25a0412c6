"""Agents of LangChain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import ToolMessage
from langchain_core.tools import ToolException, tool
from langchain_openai import ChatOpenAI

import pandaprobe_otel
from agent_traces import SentTraces
from framework_cases import CUTS, AgentApp, StartModel
from old_versions import has
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from weather_model import WEATHER, weather_model

TOOLS_ARE_GIVEN = "[1]" if has("langchain", "1.2.16") else "{__type,tool_call,state}"
"""The expected input of LangChain's `tools` step: the calls, or, before 1.2.16, one call with the state."""


@tool
def weather(city: str) -> str:
    """Tell the weather in a city."""
    if city not in WEATHER:
        raise LookupError(f"no station in {city}")
    return WEATHER[city]


def ask(question: str) -> dict[str, Any]:
    """Return the input of an agent."""
    return {"messages": [{"role": "user", "content": question}]}


def openai_chat(endpoint: ScriptedEndpoint, **options: Any) -> ChatOpenAI:
    """A model over chat completions, whose streams include usage, as streams from OpenAI's own address do."""
    given = {"model": "gpt-5-mini", "base_url": endpoint.base_url, "api_key": "any", "max_retries": 0}
    return ChatOpenAI(**{**given, "stream_usage": True, **options})


def openai_responses(endpoint: ScriptedEndpoint) -> ChatOpenAI:
    """A model over the Responses API."""
    return openai_chat(endpoint, use_responses_api=True)


def anthropic(endpoint: ScriptedEndpoint) -> ChatAnthropic:
    """A model over Anthropic's Messages API, whose client makes spans of its own by default."""
    return ChatAnthropic(model="gpt-5-mini", base_url=endpoint.url, api_key="any", max_retries=0)


MODELS = pytest.mark.parametrize("chat_model", [openai_chat, openai_responses, anthropic])


def invoke(agent: Any, state: dict[str, Any]) -> None:
    """Wait for the whole answer."""
    agent.invoke(state)


def stream(agent: Any, state: dict[str, Any]) -> None:
    """Read the answer token by token."""
    assert len(list(agent.stream(state, stream_mode="messages"))) > 3


def ainvoke(agent: Any, state: dict[str, Any]) -> None:
    """Wait for the whole answer in an event loop."""
    asyncio.run(agent.ainvoke(state))


def astream(agent: Any, state: dict[str, Any]) -> None:
    """Read the answer token by token in an event loop."""

    async def consume() -> int:
        return len([piece async for piece in agent.astream(state, stream_mode="messages")])

    assert asyncio.run(consume()) > 3


def astream_events(agent: Any, state: dict[str, Any]) -> None:
    """Read the run event by event."""

    async def consume() -> int:
        return len([event async for event in agent.astream_events(state, version="v2")])

    assert asyncio.run(consume()) > 3


@MODELS
@pytest.mark.parametrize("run", [invoke, stream, ainvoke, astream, astream_events])
def test_a_run_is_one_tree(
    run: Callable[[Any, dict[str, Any]], None],
    chat_model: Callable[[ScriptedEndpoint], Any],
    traces: SentTraces,
    model: StartModel,
) -> None:
    """Every way to run the agent, with every model, makes the same tree of agent, steps, model calls and tool."""
    endpoint = model(weather_model)
    agent = create_agent(chat_model(endpoint), [weather], system_prompt="You know weather.", name="forecaster")
    run(agent, ask("Weather in Oslo?"))

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    trace.is_like(f"""
        trace forecaster | COMPLETED | Weather in Oslo? > The station says: snowy
        AGENT forecaster | u > ucta
          CHAIN model | u > c
            LLM chat gpt-5-mini @gpt-5-mini | su > c
          CHAIN tools | {TOOLS_ARE_GIVEN} > t
            TOOL weather | {{"city":"Oslo"}} > "snowy"
          CHAIN model | uct > a
            LLM chat gpt-5-mini @gpt-5-mini | suct > a
    """)


@MODELS
def test_what_the_spans_tell(
    chat_model: Callable[[ScriptedEndpoint], Any], traces: SentTraces, model: StartModel
) -> None:
    """Messages, tool definitions and ids in the spans match those sent over the wire; spans have agent and node."""
    endpoint = model(weather_model)
    create_agent(chat_model(endpoint), [weather], system_prompt="You know weather.", name="forecaster").invoke(
        ask("Weather in Oslo?")
    )

    trace = traces.one()
    called, told = trace.all("LLM")
    (system, user, assistant, result) = told["input"]["messages"]
    assert (system["content"], user["content"]) == ("You know weather.", "Weather in Oslo?")
    (call,) = assistant["tool_calls"]
    wire_id = endpoint.exchanges[1].conversation[-1]["tool_call_id"]
    assert (call["id"], result["tool_call_id"], result["content"]) == (wire_id, wire_id, "snowy")
    assert told["output"]["messages"][0]["content"] == "The station says: snowy"
    (definition,) = called["metadata"]["tools"]
    assert (definition["name"], definition["description"]) == ("weather", "Tell the weather in a city.")
    assert definition["parameters"]["properties"] == {"city": {"type": "string"}}
    assert called["metadata"]["response_id"] == endpoint.exchanges[0].response_id
    assert called["metadata"]["agent_name"] == "forecaster"
    span = trace.only("TOOL")
    assert span["metadata"]["tool_call_id"] == wire_id
    assert span["metadata"]["langgraph_node"] == "tools"
    assert span["metadata"]["tool_description"] == "Tell the weather in a city."


def test_a_streamed_answer_has_the_time_of_its_first_token(traces: SentTraces, model: StartModel) -> None:
    """The first token's time lies between the start and the end of the call."""
    stream(create_agent(openai_chat(model(weather_model)), [weather]), ask("Weather in Oslo?"))

    for span in traces.one().all("LLM"):
        assert span["started_at"] < span["completion_start_time"] <= span["ended_at"]


def test_a_tool_that_raises(traces: SentTraces, model: StartModel) -> None:
    """The exception reaches the app unchanged, and every span that it passes is ended with that error."""
    agent = create_agent(openai_chat(model(weather_model)), [weather], name="forecaster")
    with pytest.raises(LookupError, match="no station in Atlantis"):
        agent.invoke(ask("Weather in Atlantis?"))

    traces.one().is_like(f"""
        trace forecaster | ERROR | Weather in Atlantis? > call weather
        AGENT forecaster | u > - !no station in Atlantis
          CHAIN model | u > c
            LLM chat gpt-5-mini @gpt-5-mini | u > c
          CHAIN tools | {TOOLS_ARE_GIVEN} > - !no station in Atlantis
            TOOL weather | {{"city":"Atlantis"}} > - !no station in Atlantis
    """)


def test_a_failure_that_the_agent_handles(traces: SentTraces, model: StartModel) -> None:
    """The tool's span has an error and the text given to the model; the agent's span has no error."""

    @tool("weather", description="Tell the weather.")
    def failing(city: str) -> str:
        raise ToolException(f"no station in {city}")

    failing.handle_tool_error = True
    endpoint = model(weather_model)
    create_agent(openai_chat(endpoint), [failing], name="forecaster").invoke(ask("Weather in Atlantis?"))

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    trace.is_like(f"""
        trace forecaster | COMPLETED | Weather in Atlantis? > The station says: no station in Atlantis
        AGENT forecaster | u > ucta
          CHAIN model | u > c
            LLM chat gpt-5-mini @gpt-5-mini | u > c
          CHAIN tools | {TOOLS_ARE_GIVEN} > t
            TOOL weather | {{"city":"Atlantis"}} > "no station in Atlantis" !no station in Atlantis
          CHAIN model | uct > a
            LLM chat gpt-5-mini @gpt-5-mini | uct > a
    """)


def test_a_model_that_refuses(traces: SentTraces, model: StartModel) -> None:
    """A refused model call ends the run and all its spans with an error."""
    agent = create_agent(openai_chat(model(weather_model)), [weather], name="forecaster")
    with pytest.raises(Exception, match="There is no Nowhere"):
        agent.invoke(ask("Weather in Nowhere?"))

    trace = traces.one()
    assert [(span["kind"], span["status"]) for span in trace.spans] == [
        ("AGENT", "ERROR"),
        ("CHAIN", "ERROR"),
        ("LLM", "ERROR"),
    ]
    assert all("There is no Nowhere." in span["error"] and "ended_at" in span for span in trace.spans)


@CUTS
@MODELS
def test_a_run_that_is_cut_short(
    chat_model: Callable[[ScriptedEndpoint], Any], cut: Any, traces: SentTraces, model: StartModel
) -> None:
    """A run that is cancelled, left or refused is one trace with the true status and outcome."""

    def agent(endpoint: ScriptedEndpoint, function: Any) -> Any:
        return create_agent(chat_model(endpoint), [tool(function)], name="forecaster")

    async def leave(endpoint: ScriptedEndpoint) -> None:
        async for piece, _ in agent(endpoint, weather.func).astream(ask("Hi"), stream_mode="messages"):
            if piece.text:
                break

    async def run(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
        await agent(endpoint, function).ainvoke(ask(question))

    cut(AgentApp(run=run, leave=leave), traces, model)


def test_two_turns_are_one_session(traces: SentTraces, model: StartModel) -> None:
    """`thread_id` is the session of both traces, which have the run's tags and metadata."""
    agent = create_agent(openai_chat(model(weather_model)), [weather], name="forecaster")
    config = {"configurable": {"thread_id": "thread-7"}, "tags": ["beta"], "metadata": {"user_id": "ada", "team": "x"}}
    for question in ("Hi", "Weather in Oslo?"):
        agent.invoke(ask(question), config)

    for trace, answer in zip(traces.new(2), ("You said: Hi", "The station says: snowy"), strict=True):
        assert (trace.body["session_id"], trace.body["user_id"], trace.body["tags"]) == ("thread-7", "ada", ["beta"])
        assert trace.body["metadata"]["team"] == "x"
        assert trace.body["output"]["messages"][0]["content"] == answer


def test_the_apps_own_session_wins(traces: SentTraces, model: StartModel) -> None:
    """A session that the app has set is kept."""
    agent = create_agent(openai_chat(model(weather_model)), [weather])
    with pandaprobe_otel.session("mine"), pandaprobe_otel.user("me"):
        agent.invoke(ask("Hi"), {"configurable": {"thread_id": "thread-7"}})

    body = traces.one().body
    assert (body["session_id"], body["user_id"]) == ("mine", "me")


def test_an_agent_as_a_tool_of_another(traces: SentTraces, model: StartModel) -> None:
    """A sub-agent that a tool runs is an AGENT span below the tool, and its model calls are counted once."""
    endpoint = model(weather_model)
    expert = create_agent(openai_chat(endpoint), [weather], name="expert")

    @tool("weather")
    def ask_expert(city: str) -> str:
        """Ask someone who knows the weather in a city."""
        return str(expert.invoke(ask(f"Weather in {city}?"))["messages"][-1].content)

    create_agent(openai_chat(endpoint), [ask_expert], name="boss").invoke(ask("Weather in Oslo?"))

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert len(endpoint.exchanges) == 4
    inner = trace.only("AGENT", "expert")
    assert [span["name"] for span in trace.above(inner)] == ["weather", "tools", "boss"]
    assert [span["metadata"]["agent_name"] for span in trace.below(inner) if span["kind"] == "LLM"] == ["expert"] * 2


def test_what_a_tool_does_is_inside_of_it(traces: SentTraces, model: StartModel) -> None:
    """Spans of the app, calls of an instrumented client and LangChain's models in a tool are below that tool."""
    from openai import OpenAI

    endpoint = model(weather_model)

    @pandaprobe_otel.span(name="look up")
    def look_up(city: str) -> str:
        client = OpenAI(base_url=endpoint.base_url, api_key="any")
        client.chat.completions.create(model="small", messages=[{"role": "user", "content": "Hi"}])
        openai_chat(endpoint, model="tiny").invoke("Ho")
        return WEATHER[city]

    @tool("weather")
    def thorough(city: str) -> str:
        """Tell the weather in a city."""
        return look_up(city)

    create_agent(openai_chat(endpoint), [thorough], name="forecaster").invoke(ask("Weather in Oslo?"))

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    own = trace.only(name="look up")
    assert trace.children(trace.only("TOOL")) == [own]
    assert [span["model"] for span in trace.children(own)] == ["small", "tiny"]


@pytest.mark.parametrize("awaited", [False, True])
async def test_an_agent_inside_of_the_apps_own_span(awaited: bool, traces: SentTraces, model: StartModel) -> None:
    """Two runs of an agent in one span of the app are one trace, with that span as its root."""
    endpoint = model(weather_model)
    agent = create_agent(openai_chat(endpoint), [weather], name="forecaster")
    with pandaprobe_otel.span("plan a trip", kind="CHAIN") as planning:
        for question in ("Weather in Oslo?", "Weather in Łódź?"):
            if awaited:
                await agent.ainvoke(ask(question))
            else:
                agent.invoke(ask(question))
        planning.set_output("pack a coat")

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert (trace.root["name"], trace.root["output"]) == ("plan a trip", "pack a coat")
    assert [span["name"] for span in trace.children(trace.root)] == ["forecaster", "forecaster"]


def test_a_tool_that_returns_a_command(traces: SentTraces, model: StartModel) -> None:
    """A tool that returns a command has the message of the command's update as its output."""
    from langgraph.types import Command

    endpoint = model(weather_model)

    @tool("weather")
    def commanding(city: str) -> Any:
        """Tell the weather in a city."""
        call_id = endpoint.exchanges[-1].said.response_id.removeprefix("chatcmpl-")
        return Command(update={"messages": [ToolMessage("windy", tool_call_id=f"call_{call_id}_0")]})

    create_agent(openai_chat(endpoint), [commanding]).invoke(ask("Weather in Oslo?"))

    span = traces.one().only("TOOL")
    assert (span["output"], span["metadata"]["tool_call_id"]) == ("windy", "call_scripted1_0")
