"""What recording adds to the calls of each client library, in CPU time, beside other instrumentations.

The client speaks to a transport in this process, so nothing waits for a socket. Each figure is the median of paired
rounds: the same calls with the instrumentation off and on, in turns in one process, `process_time` of both. The
provider has one span processor that drops what it gets. A peer that is not installed is left out.

    python benchmarks/integrations/bench_providers.py [rounds] [library ...]
    python benchmarks/integrations/bench_providers.py forgotten [library ...]

`forgotten` tells instead what 10,000 streams that are read a little and dropped leave in memory.
"""

from __future__ import annotations

import gc
import logging
import os
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from clients import CHUNKS, CLIENTS, Work
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from pandaprobe_otel.registry import instrument, uninstrument

CALLS = 40
ABANDONED = 10_000
PEERS = {
    "openai": (
        ("OpenInference", "openinference.instrumentation.openai:OpenAIInstrumentor"),
        ("OpenLLMetry", "opentelemetry.instrumentation.openai:OpenAIInstrumentor"),
        ("otel-genai", "opentelemetry.instrumentation.genai.openai:OpenAIInstrumentor"),
    ),
    "anthropic": (
        ("OpenInference", "openinference.instrumentation.anthropic:AnthropicInstrumentor"),
        ("OpenLLMetry", "opentelemetry.instrumentation.anthropic:AnthropicInstrumentor"),
        ("otel-genai", "opentelemetry.instrumentation.genai.anthropic:AnthropicInstrumentor"),
    ),
    "litellm": (("OpenInference", "openinference.instrumentation.litellm:LiteLLMInstrumentor"),),
    "mistralai": (("OpenInference", "openinference.instrumentation.mistralai:MistralAIInstrumentor"),),
}


class Dropping(SpanProcessor):
    """The least that a pipeline can do."""


@dataclass(frozen=True)
class Instrumentation:
    """Something that can be turned on and off."""

    name: str
    on: Callable[[], Any]
    off: Callable[[], Any]


provider = TracerProvider()
provider.add_span_processor(Dropping())


def instrumentations(library: str) -> Iterator[Instrumentation]:
    """Ours, and the peers that are installed."""
    yield Instrumentation(
        "pandaprobe-otel",
        lambda: instrument(library, tracer_provider=provider),
        lambda: uninstrument(library),
    )
    for name, target in PEERS.get(library, ()):
        module, _, class_name = target.partition(":")
        try:
            made = getattr(import_module(module), class_name)()
        except (ImportError, AttributeError):
            continue
        yield Instrumentation(name, partial(made.instrument, tracer_provider=provider), made.uninstrument)


def calls(work: Work) -> None:
    """Many calls that are answered in one piece."""
    for _ in range(CALLS):
        work.call()


def stream(work: Work) -> None:
    """One long stream."""
    work.stream()


def cpu_us(run: Callable[[Work], None], work: Work) -> float:
    """CPU time in microseconds."""
    gc.collect()
    gc.disable()
    start = time.process_time_ns()
    run(work)
    spent = time.process_time_ns() - start
    gc.enable()
    return spent / 1000


def added(run: Callable[[Work], None], work: Work, units: int, rounds: int, instrumentation: Instrumentation) -> str:
    """Median and quartiles of what recording adds per unit, and the unit without it."""
    differences: list[float] = []
    plain: list[float] = []
    for turn in range(rounds):
        spent: dict[bool, float] = {}
        for on in (False, True) if turn % 2 == 0 else (True, False):
            if on:
                instrumentation.on()
            run(work)
            spent[on] = cpu_us(run, work)
            if on:
                instrumentation.off()
        differences.append((spent[True] - spent[False]) / units)
        plain.append(spent[False] / units)
    low, middle, high = statistics.quantiles(differences, n=4)
    return f"+{middle:6.2f} us ({low:.2f} to {high:.2f}) on {statistics.median(plain):.1f} us"


def left_behind(library: str, work: Work) -> str:
    """Growth of Python's memory over many streams that are read a little and forgotten."""
    instrument(library, tracer_provider=provider)

    def forget(count: int) -> None:
        for _ in range(count):
            next(iter(work.open_stream()))
        gc.collect()

    forget(200)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    forget(ABANDONED)
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    uninstrument(library)
    return f"{(after - before) / 1024:.0f} KiB more after {ABANDONED} streams (peak {(peak - before) / 1024:.0f} KiB)"


def main() -> None:
    """Print the figures."""
    logging.disable(logging.ERROR)
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    arguments = sys.argv[1:]
    forgotten = arguments[:1] == ["forgotten"]
    rounds = int(arguments[0]) if arguments and arguments[0].isdigit() else 40
    named = [argument for argument in arguments if argument in CLIENTS] or list(CLIENTS)
    for library in named:
        work = CLIENTS[library]()
        if forgotten:
            print(f"{library:10} {left_behind(library, work)}", flush=True)
            continue
        for instrumentation in instrumentations(library):
            call = added(calls, work, CALLS, rounds, instrumentation)
            chunk = added(stream, work, CHUNKS, rounds, instrumentation)
            print(f"{library:10} {instrumentation.name:16} call {call:44} chunk {chunk}", flush=True)


if __name__ == "__main__":
    main()
