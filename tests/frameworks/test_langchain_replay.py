"""Programs of LangChain and LangGraph, replayed."""

from __future__ import annotations

import asyncio
import operator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.messages import ToolMessage
from langchain_core.tools import InjectedToolCallId, ToolException, tool
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send

import pandaprobe_otel
from replayed_frameworks import (
    AT_ONCE,
    DONE,
    Parts,
    clock,
    is_replayed,
    pause,
    run,
    tells_changes,
    tells_changes_of_branches,
    weather,
)

pytestmark = pytest.mark.usefixtures("traced")


def model_at(url: str, parts: Parts) -> ChatOpenAI:
    """A model over chat completions."""
    return ChatOpenAI(model=parts.model, base_url=url, api_key="any", max_retries=2)


def tools_of(parts: Parts) -> list[Any]:
    """The tools of a program."""
    return [tool(weather, description=parts.description), *([tool(clock)] if parts.has_clock else [])]


def agent(url: str, parts: Parts) -> list[str]:
    """Ask an agent, and read the answers piece by piece."""
    made: Any = create_agent(model_at(url, parts), tools_of(parts), system_prompt=parts.instructions)
    return [
        str(piece.content)
        for question in parts.questions
        for piece, _ in made.stream({"messages": [("user", question)]}, stream_mode="messages")
        if piece.type == "AIMessageChunk"  # tools run at once, so that their messages have no order
    ]


def test_a_program_is_replayed(tmp_path: Path) -> None:
    """Replays give the recorded result and spans and run no tool; each change is reported at the first call."""
    is_replayed(agent, tmp_path / "one.yaml")
    tells_changes(agent, tmp_path / "two.yaml")


class Fan(TypedDict):
    """The state of a graph that asks many questions."""

    question: str
    answers: Annotated[list[str], operator.add]


def fanned_out(url: str, parts: Parts, decorate: Any = lambda one: one) -> list[str]:
    """Send each question to an agent of its own, of which two run at a time, then ask about all answers."""
    asked: Any = create_agent(model_at(url, parts), tools_of(parts), system_prompt=parts.instructions)
    free = asyncio.Semaphore(2)

    @decorate
    async def ask(question: str) -> str:
        await pause()
        answer = await asked.ainvoke({"messages": [{"role": "user", "content": question}]})
        return str(answer["messages"][-1].content)

    async def limited(state: Fan) -> Any:
        async with free:
            return {"answers": [await ask(state["question"])]}

    async def sum_up(state: Fan) -> Any:
        return {"answers": [await ask(f"Sum up: {state['answers']}")]}

    builder = StateGraph(Fan)
    builder.add_node("ask", limited)
    builder.add_node("sum up", sum_up)
    builder.add_conditional_edges(START, lambda _: [Send("ask", {"question": one}) for one in parts.questions], ["ask"])
    builder.add_edge("ask", "sum up")
    builder.add_edge("sum up", END)
    made: Any = builder.compile()
    answers: list[str] = asyncio.run(made.ainvoke({"question": "", "answers": []}))["answers"]
    return answers


def fanned_out_decorated(url: str, parts: Parts) -> list[str]:
    """Ask in the app's own spans."""
    with pandaprobe_otel.agent("all"):
        return fanned_out(url, parts, pandaprobe_otel.agent(name="ask"))


@pytest.mark.parametrize("program", [fanned_out, fanned_out_decorated])
def test_branches_that_run_at_once(program: Any, tmp_path: Path) -> None:
    """An unchanged graph with concurrent branches is replayed each time, and a change of one branch is reported."""
    is_replayed(program, tmp_path / "one.yaml", AT_ONCE)
    tells_changes_of_branches(program, tmp_path / "two.yaml")


@tool(response_format="content_and_artifact")
def search(question: str) -> tuple[str, list[int]]:
    """Look something up."""
    DONE.append(question)
    return f"found {question}", [1, 2]


@tool
def hand_over(to: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
    """Give the conversation to somebody."""
    DONE.append(to)
    return Command(goto=to, update={"messages": [ToolMessage(f"to {to}", tool_call_id=tool_call_id)]})


@tool
def broken(number: int) -> str:
    """Fail."""
    DONE.append(str(number))
    raise ToolException(f"no {number}")


broken.handle_tool_error = True


def test_results_of_every_kind_come_back(tmp_path: Path) -> None:
    """Replays return artifacts, commands with messages, and errors that LangChain turns into messages."""

    def call(made: Any, arguments: Any) -> Any:
        return made.invoke({"type": "tool_call", "id": "c1", "name": made.name, "args": arguments})

    def program() -> list[Any]:
        return [
            call(search, {"question": "why"}),
            call(hand_over, {"to": "clerk"}),
            call(broken, {"number": 7}),
            asyncio.run(search.ainvoke({"question": "how"})),
        ]

    recorded, replayed = (run(lambda *_: program(), "", tmp_path / "one.yaml") for _ in range(2))
    assert DONE == []
    assert replayed == recorded
    found, command, failure, *_ = replayed
    assert (found.artifact, command.goto, failure.status) == ([1, 2], "clerk", "error")
