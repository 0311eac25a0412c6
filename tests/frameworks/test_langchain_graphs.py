"""Graphs that an app builds with LangGraph."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Command, Send, interrupt
from openai import OpenAI

from agent_traces import SentTraces
from framework_cases import StartModel, recorded_apart
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from planting import Planted
from weather_model import weather, weather_model


class State(TypedDict):
    question: str
    answers: Annotated[list[str], operator.add]


def chat(endpoint: ScriptedEndpoint) -> ChatOpenAI:
    """A model over chat completions."""
    return ChatOpenAI(model="gpt-5-mini", base_url=endpoint.base_url, api_key="any", max_retries=0, stream_usage=True)


def asks_with(endpoint: ScriptedEndpoint) -> Callable[[State], State]:
    """Return a node that asks the model through OpenAI's client, as many graphs do."""

    def node(state: State) -> Any:
        client = OpenAI(base_url=endpoint.base_url, api_key="any")
        answer = client.chat.completions.create(
            model="gpt-5-mini", messages=[{"role": "user", "content": state["question"]}]
        )
        return {"answers": [answer.choices[0].message.content]}

    return node


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
def test_a_graph_of_model_and_tools(way: str, traces: SentTraces, model: StartModel) -> None:
    """Each node of an agent graph is a step with its model call, router or tool below it."""
    endpoint = model(weather_model)

    llm = chat(endpoint).bind_tools([weather])

    def think(state: MessagesState) -> Any:
        return {"messages": [llm.invoke(state["messages"])]}

    async def think_async(state: MessagesState) -> Any:
        return {"messages": [await llm.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("think", think_async if way.startswith("a") else think)
    builder.add_node("tools", ToolNode([weather]))
    builder.add_edge(START, "think")
    builder.add_conditional_edges("think", tools_condition)
    builder.add_edge("tools", "think")
    graph = builder.compile(name="forecaster")
    run_graph(graph, way, {"messages": [("user", "Weather in Oslo?")]})

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    trace.is_like("""
        trace forecaster | COMPLETED | Weather in Oslo? > The station says: snowy
        AGENT forecaster | u > ucta
          CHAIN think | u > c
            LLM chat gpt-5-mini @gpt-5-mini | u > c
            CHAIN tools_condition | uc > "tools"
          CHAIN tools | uc > t
            TOOL weather | {"city":"Oslo"} > "snowy"
          CHAIN think | uct > a
            LLM chat gpt-5-mini @gpt-5-mini | uct > a
            CHAIN tools_condition | ucta > "__end__"
    """)
    assert [span["metadata"]["langgraph_node"] for span in trace.all("LLM")] == ["think", "think"]


def run_graph(graph: Any, way: str, state: Any, config: Any = None) -> None:
    """Run the graph to its end."""

    async def consume() -> None:
        async for _ in graph.astream(state, config):
            pass

    if way == "invoke":
        graph.invoke(state, config)
    elif way == "stream":
        list(graph.stream(state, config, stream_mode=["values", "messages"]))
    elif way == "ainvoke":
        asyncio.run(graph.ainvoke(state, config))
    else:
        asyncio.run(consume())


def interrupting(endpoint: ScriptedEndpoint) -> Any:
    """A graph that asks the model and then a human."""
    builder = StateGraph(State)
    builder.add_node("model", asks_with(endpoint))
    builder.add_node("human", lambda state: {"answers": [interrupt({"approve": state["answers"][-1]})]})
    builder.add_edge(START, "model")
    builder.add_edge("model", "human")
    return builder.compile(checkpointer=InMemorySaver(), name="careful")


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
def test_an_interrupt_is_no_error(way: str, traces: SentTraces, model: StartModel) -> None:
    """An interrupt is recorded as its node's output, not as an error; the resumed run is a trace of the session."""
    endpoint = model(weather_model)
    graph = interrupting(endpoint)
    config = {"configurable": {"thread_id": "thread-1"}}
    run_graph(graph, way, {"question": "Hi", "answers": []}, config)
    run_graph(graph, way, Command(resume="yes"), config)

    asked, resumed = traces.new(2)
    asked.is_sound(endpoint.exchanges)
    asked.is_like("""
        trace careful | COMPLETED | session thread-1 | {"question":"Hi","answers":[]} > {"question":"Hi","answers":["You said: Hi"]}
        AGENT careful | {question,answers} > {question,answers}
          CHAIN model | {question,answers} > {answers}
            LLM chat gpt-5-mini @gpt-5-mini | u > a
          CHAIN human | {question,answers} > {__interrupt__}
    """)  # noqa: E501
    assert asked.only(name="human")["output"] == {"__interrupt__": [{"approve": "You said: Hi"}]}
    waiting = {"careful", "human"}
    assert {span["name"] for span in asked.spans if span["metadata"].get("outcome") == "interrupted"} == waiting
    assert {span["name"] for span in asked.spans if span["status"] == "UNSET"} == waiting
    assert (asked.body["metadata"]["outcome"], "outcome" in resumed.body["metadata"]) == ("interrupted", False)
    assert (resumed.body["session_id"], resumed.root["input"]) == ("thread-1", {"resume": "yes"})
    assert resumed.only(name="human")["output"] == {"answers": ["yes"]}


def test_parallel_nodes_and_a_fan_out(traces: SentTraces, model: StartModel) -> None:
    """Nodes that run in parallel threads are below the graph, each with its model call below it."""
    endpoint = model(weather_model)
    builder = StateGraph(State)
    for name in ("left", "right", "each"):
        builder.add_node(name, asks_with(endpoint))
    builder.add_edge(START, "left")
    builder.add_edge(START, "right")
    builder.add_conditional_edges(
        "right", lambda state: [Send("each", {"question": f"Part {n}", "answers": []}) for n in range(3)], ["each"]
    )
    builder.compile(name="wide").invoke({"question": "Hi", "answers": []})

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    nodes = [span for span in trace.children(trace.root) if span["name"] in ("left", "right", "each")]
    assert sorted(span["name"] for span in nodes) == ["each", "each", "each", "left", "right"]
    for node in nodes:
        (call,) = [span for span in trace.children(node) if span["kind"] == "LLM"]
        assert call["input"]["messages"][0]["content"] == node["input"]["question"]


def test_subgraphs(traces: SentTraces, model: StartModel) -> None:
    """A subgraph is an AGENT span, whether it is a node or called by one."""
    endpoint = model(weather_model)
    inner = StateGraph(State)
    inner.add_node("ask", asks_with(endpoint))
    inner.add_edge(START, "ask")
    compiled = inner.compile(name="inner")

    def calls(state: State) -> Any:
        return {"answers": compiled.invoke({"question": state["question"], "answers": []})["answers"]}

    outer = StateGraph(State)
    outer.add_node("as node", compiled)
    outer.add_node("by call", calls)
    outer.add_edge(START, "as node")
    outer.add_edge("as node", "by call")
    outer.compile(name="outer").invoke({"question": "Hi", "answers": []})

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    state, said = "{question,answers}", '"You said: Hi"'
    trace.is_like(f"""
        trace outer | COMPLETED | {{"question":"Hi","answers":[]}} > {{"question":"Hi","answers":[{said},{said}]}}
        AGENT outer | {state} > {state}
          CHAIN as node | {state} > {state}
            AGENT inner | {state} > {state}
              CHAIN ask | {state} > {{answers}}
                LLM chat gpt-5-mini @gpt-5-mini | u > a
          CHAIN by call | {state} > {{answers}}
            AGENT inner | {state} > {state}
              CHAIN ask | {state} > {{answers}}
                LLM chat gpt-5-mini @gpt-5-mini | u > a
    """)


def test_an_exception_in_parallel_nodes_ends_every_span(traces: SentTraces) -> None:
    """One node's exception ends the run, and the node that was still running is ended without an error."""

    async def waits(state: State) -> Any:
        await asyncio.sleep(60)

    async def fails(state: State) -> Any:
        await asyncio.sleep(0.05)
        raise ZeroDivisionError("division by zero")

    builder = StateGraph(State)
    builder.add_node("waits", waits)
    builder.add_node("fails", fails)
    builder.add_edge(START, "waits")
    builder.add_edge(START, "fails")
    graph = builder.compile(name="doomed")
    with pytest.raises(ZeroDivisionError):
        asyncio.run(graph.ainvoke({"question": "Hi", "answers": []}))

    trace = traces.one()
    assert trace.body["status"] == "ERROR"
    assert {span["name"]: (span["status"], "ended_at" in span) for span in trace.spans} == {
        "doomed": ("ERROR", True),
        "waits": ("UNSET", True),
        "fails": ("ERROR", True),
    }


class Ticket(MessagesState):
    """A state with messages and other values."""

    user_id: str
    route: str
    docs: list[Any]


def test_planted_values_are_recorded(traces: SentTraces, model: StartModel) -> None:
    """Every node's span has the complete input state and all changes of the node."""
    planted = Planted()
    endpoint = model(planted.script)

    def classify(state: Ticket) -> Command[Literal["answer"]]:
        documents = [{"text": planted["a document"], "page": 7}]
        return Command(goto="answer", update={"route": planted["a route"], "docs": documents})

    def answer(state: Ticket) -> dict[str, Any]:
        agent: Any = create_agent(chat(endpoint), [planted.look_up], system_prompt=planted["the instructions"])
        message = agent.invoke({"messages": state["messages"]})["messages"][-1]
        return {"messages": [message], "route": planted["the last route"]}

    graph = StateGraph(Ticket).add_node(classify).add_node(answer)
    graph.add_edge(START, "classify")
    given: Any = {
        "messages": [("user", planted["the question"])],
        "user_id": planted["the user"],
        "route": planted["the first route"],
        "docs": [],
    }
    with recorded_apart("langchain") as recorder:
        graph.compile().invoke(given)
    assert planted.unrecorded(recorder) == []
    assert planted.lost(recorder) == []
    given = recorder.input("answer")
    assert (given["user_id"], given["docs"]) == (planted["the user"], [{"text": planted["a document"], "page": 7}])
    whole = recorder.output_of(recorder.spans[-1])
    assert recorder.output("answer")["route"] == whole["route"] == planted["the last route"]
    assert (whole["user_id"], len(whole["messages"])) == (planted["the user"], 2)
