"""Cost of recording LangChain's runs, next to OpenInference: medians of alternating rounds, without exporting.

Needs the environment of the framework tests:

    python tests/frameworks/run.py langchain
    .frameworks/langchain/bin/python benchmarks/integrations/langchain_runs.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableLambda
from langgraph.graph import START, MessagesState, StateGraph
from openinference.instrumentation.langchain import LangChainInstrumentor
from opentelemetry.sdk.trace import TracerProvider

import pandaprobe_otel

ROUNDS = 12
CALLS = 60


def chain() -> Callable[[], Any]:
    """Return a chain of four runs: the sequence, two functions, a model that answers at once."""
    model = FakeListChatModel(responses=["fine"])
    made = RunnableLambda(lambda text: text) | model | RunnableLambda(lambda message: message.content)
    return lambda: made.invoke("hello")


def graph() -> Callable[[], Any]:
    """Return a graph of nine runs: the graph, four nodes, a model in each."""
    model = FakeListChatModel(responses=["fine"])
    builder = StateGraph(MessagesState)
    for number in range(4):
        builder.add_node(f"n{number}", lambda state: {"messages": [model.invoke(state["messages"])]})
        builder.add_edge(f"n{number - 1}" if number else START, f"n{number}")
    made = builder.compile()
    return lambda: made.invoke({"messages": [("user", "hi")]})


def per_call_us(call: Callable[[], Any]) -> float:
    """Return the microseconds of one call."""
    begun = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - begun) / CALLS * 1e6


def main() -> None:
    """Print one line for each kind of run."""
    provider = TracerProvider(shutdown_on_exit=False)
    theirs = LangChainInstrumentor()
    for name, call in (("chain of 4 runs", chain()), ("graph of 9 runs", graph())):
        times: dict[str, list[float]] = {"off": [], "pandaprobe-otel": [], "openinference": []}
        for _ in range(ROUNDS):
            times["off"].append(per_call_us(call))
            pandaprobe_otel.instrument("langchain", tracer_provider=provider)
            times["pandaprobe-otel"].append(per_call_us(call))
            pandaprobe_otel.uninstrument("langchain")
            theirs.instrument(tracer_provider=provider)
            times["openinference"].append(per_call_us(call))
            theirs.uninstrument()
        off = statistics.median(times["off"])
        ratios = ", ".join(f"{who} {statistics.median(us) / off:.2f} x" for who, us in times.items() if who != "off")
        print(f"{name}: {off:.0f} us without recording; {ratios}")


if __name__ == "__main__":
    main()
