"""A graph of LangGraph that writes a refund and waits for a human's approval, traced by one line.

The run until the interrupt and the run that resumes it are two traces of one session; the interrupt is not an error.

    pip install "pandaprobe-otel[langchain,local]"
    python langgraph_agent.py                 # a scripted model and a local PandaProbe: no key, no cost
    OPENAI_API_KEY=... PANDAPROBE_API_KEY=... python langgraph_agent.py
"""

import os
from collections.abc import Sequence
from typing import TypedDict

from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

import pandaprobe_otel
from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripted_endpoint import Message, Reply


class Case(TypedDict, total=False):
    """State that the nodes pass on."""

    complaint: str
    letter: str
    approved: bool


def write_letter(case: Case) -> Case:
    """Let the model write the letter."""
    model = ChatOpenAI(model=os.environ.get("OPENAI_MODEL", "gpt-5-mini"))
    answer = model.invoke(f"Offer a refund in one sentence to a customer who says: {case['complaint']}")
    return {"letter": answer.text}


def ask_human(case: Case) -> Case:
    """Wait until somebody decides."""
    return {"approved": interrupt({"send?": case["letter"]})}


def send(case: Case) -> Case:
    """Send the letter if it was approved."""
    print("sent:" if case["approved"] else "thrown away:", case["letter"])
    return {}


def main() -> None:
    pandaprobe_otel.init()  # the one line: from here on, graphs, nodes and model calls are traced

    builder = StateGraph(Case)
    for node in (write_letter, ask_human, send):
        builder.add_node(node.__name__, node)
    builder.add_edge(START, "write_letter")
    builder.add_edge("write_letter", "ask_human")
    builder.add_edge("ask_human", "send")
    builder.add_edge("send", END)
    graph = builder.compile(checkpointer=InMemorySaver(), name="refunds")

    config = {"configurable": {"thread_id": "case-7"}}
    paused = graph.invoke({"complaint": "The cup is broken."}, config)
    print("to decide:", paused["__interrupt__"][0].value)
    graph.invoke(Command(resume=True), config)


def script(messages: Sequence[Message]) -> Reply:
    """Return the model's reply when no key is set."""
    return Reply(text="We are sorry about the cup and give you your money back.")


if __name__ == "__main__":
    with offline(script):
        main()
