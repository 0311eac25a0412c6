"""Agents of LangChain and DeepAgents."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from deepagents import create_deep_agent
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import ToolMessage
from langchain_core.tools import ToolException, tool
from langchain_openai import ChatOpenAI
from langgraph.types import Command
from openai import OpenAI
from opentelemetry.context import get_current

import pandaprobe_otel
from agent_traces import SentTraces, tokens_of
from framework_cases import (
    AT_THE_CLIENT,
    CONFORMANCE,
    OFFICIAL,
    AgentApp,
    StartModel,
    is_of_the_official_adapter,
    off,
    run_beside_another_vendor,
)
from library_members import has
from pandaprobe_otel.demo.scripted_endpoint import Message, Reply, ScriptedEndpoint, ToolCall, text_of
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel_integrations._runs import OpenRuns, Run
from pandaprobe_otel_integrations.langchain import (
    DeepAgentsCallbackHandler,
    LangChainCallbackHandler,
    LangGraphCallbackHandler,
)
from weather_model import WEATHER, weather_model
from weather_model import weather as look_up

ChatModel = Callable[[ScriptedEndpoint], Any]
TOOLS_ARE_GIVEN = "[1]" if has("langchain", "1.2.16") else "{__type,tool_call,state}"
"""The expected input of LangChain's `tools` step: the calls, or, before 1.2.16, one call with the state."""


def given(question: str) -> dict[str, Any]:
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


def forecaster(chat_model: Any, function: Any = look_up) -> Any:
    """An agent that knows the weather."""
    return create_agent(chat_model, [tool(function)], system_prompt="You know weather.", name="forecaster")


def app_of(chat_model: ChatModel) -> AgentApp:
    """Return the runs of agents with this model."""

    async def run(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
        await forecaster(chat_model(endpoint), function).ainvoke(given(question))

    def by(way: Callable[[Any, dict[str, Any]], Any]) -> Any:
        def blocking(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
            way(forecaster(chat_model(endpoint), function), given(question))

        return blocking

    async def leave(endpoint: ScriptedEndpoint) -> None:
        async for piece, _ in forecaster(chat_model(endpoint)).astream(given("Hi"), stream_mode="messages"):
            if piece.text:
                break

    return AgentApp(
        run=run,
        ways=list(map(by, (invoke, stream, ainvoke, astream, astream_events))),
        leaves=[leave],
        name="langchain",
        package="langchain_core",
        tree=f"""
        trace forecaster | COMPLETED | Weather in Łódź? > The station says: sunny
        AGENT forecaster | u > ucta
          CHAIN model | u > c
            LLM chat gpt-5-mini @gpt-5-mini | su > c
          CHAIN tools | {TOOLS_ARE_GIVEN} > t
            TOOL weather | {{"city":"Łódź"}} > "sunny"
          CHAIN model | uct > a
            LLM chat gpt-5-mini @gpt-5-mini | suct > a
        """,
    )


@CONFORMANCE
def test_conformance(check: Any, traces: SentTraces, model: StartModel) -> None:
    """LangChain's agents are recorded as those of every framework."""
    check(app_of(openai_chat), traces, model)


@pytest.mark.parametrize("check", AT_THE_CLIENT)
@pytest.mark.parametrize("chat_model", [openai_responses, anthropic])
def test_other_models(check: Any, chat_model: ChatModel, traces: SentTraces, model: StartModel) -> None:
    """Agents with other models are recorded alike."""
    check(app_of(chat_model), traces, model)


def test_fields_of_calls_and_tools(traces: SentTraces, model: StartModel) -> None:
    """Model calls have tool definitions, response id and agent, tools their call and node."""
    endpoint = model(weather_model)
    forecaster(openai_chat(endpoint)).invoke(given("Weather in Oslo?"))

    trace = traces.one()
    call, tool_span = trace.all("LLM")[0], trace.only("TOOL")["metadata"]
    (definition,) = call["metadata"]["tools"]
    described = "Tell the weather in a city."
    assert (definition["name"], definition["description"]) == ("weather", described)
    assert definition["parameters"]["properties"] == {"city": {"type": "string"}}
    assert call["metadata"]["response_id"] == endpoint.exchanges[0].response_id
    assert call["metadata"]["agent_name"] == "forecaster"
    wire_id = endpoint.exchanges[1].conversation[-1]["tool_call_id"]
    assert (tool_span["tool_call_id"], tool_span["langgraph_node"]) == (wire_id, "tools")
    assert tool_span["tool_description"] == described


def test_a_failure_that_the_agent_handles(traces: SentTraces, model: StartModel) -> None:
    """The tool's span has an error and the text given to the model; the agent's span has no error."""

    def weather(city: str) -> str:
        """Tell the weather in a city."""
        raise ToolException(f"no station in {city}")

    failing = tool(weather)
    failing.handle_tool_error = True
    endpoint = model(weather_model)
    agent: Any = create_agent(openai_chat(endpoint), [failing])
    agent.invoke(given("Weather in Atlantis?"))

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    failed = trace.only("TOOL")
    assert (failed["output"], failed["error"]) == ("no station in Atlantis",) * 2
    assert [span["kind"] for span in trace.spans if span["status"] == "ERROR"] == ["TOOL"]
    assert trace.body["status"] == "COMPLETED"


def test_two_turns_are_one_session(traces: SentTraces, model: StartModel) -> None:
    """`thread_id` is the session of both traces, which have the run's tags and metadata; the app's session wins."""
    agent = forecaster(openai_chat(model(weather_model)))
    config = {"configurable": {"thread_id": "thread-7"}, "tags": ["beta"], "metadata": {"user_id": "ada", "team": "x"}}
    agent.invoke(given("Hi"), config)
    agent.invoke(given("Weather in Oslo?"), config)
    with pandaprobe_otel.session("mine"), pandaprobe_otel.user("me"):
        agent.invoke(given("Hi"), config)

    *turns, other = (trace.body for trace in traces.new(3))
    for body, answer in zip(turns, ("You said: Hi", "The station says: snowy"), strict=True):
        assert (body["session_id"], body["user_id"], body["tags"]) == ("thread-7", "ada", ["beta"])
        assert body["metadata"]["team"] == "x"
        assert body["output"]["messages"][0]["content"] == answer
    assert (other["session_id"], other["user_id"]) == ("mine", "me")


async def test_spans_around_agents_and_in_tools(traces: SentTraces, model: StartModel) -> None:
    """Runs in a span of the app are below it; its spans, clients and other models in a tool are below that tool."""
    endpoint = model(weather_model)

    @pandaprobe_otel.span(name="look up")
    def weather(city: str) -> str:
        """Tell the weather in a city."""
        client = OpenAI(base_url=endpoint.base_url, api_key="any")
        client.chat.completions.create(model="small", messages=[{"role": "user", "content": "Hi"}])
        openai_chat(endpoint, model="tiny").invoke("Ho")
        return WEATHER[city]

    agent = forecaster(openai_chat(endpoint), weather)
    with pandaprobe_otel.span("plan a trip", kind="CHAIN"):
        agent.invoke(given("Weather in Oslo?"))
        await agent.ainvoke(given("Weather in Łódź?"))

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert trace.root["name"] == "plan a trip"
    assert [span["name"] for span in trace.children(trace.root)] == ["forecaster", "forecaster"]
    for tool_span in trace.all("TOOL"):
        (own,) = trace.children(tool_span)
        assert own["name"] == "look up"
        assert [span["model"] for span in trace.children(own)] == ["small", "tiny"]


def test_a_tool_that_returns_a_command(traces: SentTraces, model: StartModel) -> None:
    """A tool that returns a command has the message of the command's update as its output."""
    endpoint = model(weather_model)

    def weather(city: str) -> Any:
        """Tell the weather in a city."""
        call_id = endpoint.exchanges[-1].response_id.removeprefix("chatcmpl-")
        return Command(update={"messages": [ToolMessage("windy", tool_call_id=f"call_{call_id}_0")]})

    forecaster(openai_chat(endpoint), weather).invoke(given("Weather in Oslo?"))

    span = traces.one().only("TOOL")
    assert (span["output"], span["metadata"]["tool_call_id"]) == ("windy", "call_scripted1_0")


VENDORS = {
    "OpenInference": ("openinference.instrumentation.langchain", "LangChainInstrumentor"),
    "OpenLLMetry": ("opentelemetry.instrumentation.langchain", "LangchainInstrumentor"),
    "LangSmith": ("langsmith", ""),
}
LANGSMITH = {
    "LANGSMITH_TRACING": "true",
    "LANGSMITH_OTEL_ENABLED": "true",
    "LANGSMITH_OTEL_ONLY": "true",  # has no effect alone in versions of early 2026
    "LANGSMITH_ENDPOINT": "http://127.0.0.1:9",
}


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_rivals_instrumentation_replaces_ours(
    vendor: str, server: LocalServer, traces: SentTraces, model: StartModel
) -> None:
    """While a rival records, traces have only the rival's spans: none of ours, and none of the model's client."""
    endpoint = model(weather_model)
    variables: dict[str, Any] = LANGSMITH if vendor == "LangSmith" else {}
    where = (server.url, server.api_key, endpoint.base_url)
    done = run_beside_another_vendor("langchain", *VENDORS[vendor], *where, **variables)
    assert done.stdout.startswith(f"skipped: {vendor} records these calls")
    # OpenLLMetry, since 0.53, makes a separate trace for the creation of an agent.
    makes_one = vendor == "OpenLLMetry" and has("opentelemetry-instrumentation-langchain", "0.53")
    made = traces.new(4 if makes_one else 3)
    found = [trace for trace in made if len(trace.spans) > 1]
    assert len(found) == 3
    for trace in found:
        assert {span["metadata"]["scope"] for span in trace.spans} == {VENDORS[vendor][0]}
        assert Counter(span["kind"] for span in trace.spans)["LLM"] == 2
        assert trace.only("TOOL")["output"] is not None
    tokens = tokens_of(endpoint.exchanges)
    assert (len(endpoint.exchanges), sum(trace.body["total_tokens"] for trace in found)) == (6, tokens)


def test_runs_that_never_end_are_bounded() -> None:
    """Beyond the limit of open runs, the oldest run is given up and removed."""
    runs = OpenRuns(limit=3)
    root = Run(run_id=0, parent=None, context=get_current())
    children = [Run(run_id=number, parent=root, context=root.context) for number in (1, 2, 3)]
    assert [runs.add(each) for each in (root, *children)] == [None, None, None, root]
    assert (len(runs), 0 in runs) == (3, False)


@pytest.mark.parametrize(
    ("handler_class", "name"),
    [
        (LangChainCallbackHandler, "LangChain"),
        (LangGraphCallbackHandler, "LangGraph"),
        (DeepAgentsCallbackHandler, "DeepAgents"),
    ],
)
def test_a_handler_of_the_apps_own(
    handler_class: type[LangChainCallbackHandler], name: str, traces: SentTraces, model: StartModel
) -> None:
    """A handler, beside `init()`, records each run once, and names it, its session and user unless the app has."""
    endpoint = model(weather_model)
    handler = handler_class(client=pandaprobe_otel.get_client(), **OFFICIAL)
    agent: Any = create_agent(openai_chat(endpoint), [])
    agent.invoke(given("Hi"), {"callbacks": [handler]})
    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    is_of_the_official_adapter(trace)
    assert (trace.body["name"], trace.root["name"], len(trace.spans)) == (name, "LangGraph", 3)

    with pandaprobe_otel.start_trace("the app's own"):
        agent.invoke(given("Hi"), {"callbacks": [handler]})
    assert traces.one().body["name"] == "the app's own"


def test_a_handler_without_instrumentation(traces: SentTraces, model: StartModel) -> None:
    """Without the instrumentation, a handler records its run, and the model's client makes no spans."""
    endpoint = model(weather_model)
    with off("langchain"):
        forecaster(openai_chat(endpoint)).invoke(given("Weather in Oslo?"), {"callbacks": [LangChainCallbackHandler()]})
        traces.one().is_sound(endpoint.exchanges)


def delegating_model(messages: Sequence[Message]) -> Reply:
    """Delegate each city to a sub-agent; as a sub-agent, look the weather up."""
    last = messages[-1]
    if last["role"] != "user" or "Weather in" in text_of(last["content"]):
        return weather_model(messages)
    tasks = [{"description": f"Weather in {city}?", "subagent_type": "meteorologist"} for city in WEATHER]
    return Reply(tool_calls=tuple(ToolCall(name="task", arguments=each) for each in tasks))


@pytest.mark.parametrize("run", [invoke, stream, ainvoke])
def test_sub_agents(run: Callable[..., None], traces: SentTraces, model: StartModel) -> None:
    """Each sub-agent is an AGENT span with its name below the `task` that started it, with its own calls and tools."""
    endpoint = model(delegating_model)
    expert: Any = {
        "name": "meteorologist",
        "description": "Knows the weather.",
        "system_prompt": "You know the weather.",
    }
    agent: Any = create_deep_agent(
        model=openai_chat(endpoint), name="boss", subagents=[{**expert, "tools": [tool(look_up)]}]
    )
    run(agent.with_config({"configurable": {"thread_id": "deep-1"}}), given("How is it?"))

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert (trace.body["name"], trace.body["session_id"], trace.root["kind"]) == ("boss", "deep-1", "AGENT")
    tasks = trace.all("TOOL", "task")
    assert len(tasks) == 2
    for task in tasks:
        (inner,) = trace.children(task)
        assert (inner["kind"], inner["name"]) == ("AGENT", "meteorologist")
        assert task["metadata"]["agent_name"] == "boss"
        inside = trace.below(inner)
        (call,) = [span["input"] for span in inside if span["kind"] == "TOOL"]
        assert task["output"] == f"The station says: {WEATHER[call['city']]}"
        assert call["city"] in task["input"]["description"]
        assert [span["metadata"]["agent_name"] for span in inside if span["kind"] == "LLM"] == ["meteorologist"] * 2
