"""What recording adds to the calls of the openai client, in CPU time, and what forgotten streams leave in memory.

The client speaks to a transport in this process, so nothing waits for a socket. Each figure is the median of paired
rounds: the same calls with the instrumentation off and on, in turns in one process, `process_time` of both. The
provider has one span processor that drops what it gets.

    python benchmarks/integrations/bench_openai.py [rounds]
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import openai
from openai import _base_client
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from pandaprobe_otel.registry import instrument, uninstrument

HTTP: Any = getattr(_base_client, "httpx2", None) or _base_client.httpx  # type: ignore[attr-defined]
CALLS = 40
CHUNKS = 1000
ABANDONED = 10_000

ANSWER = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-5-mini-2026-08-07","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"' + b"It is sunny and mild. " * 20 + b'"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":120,"completion_tokens":34,"total_tokens":154,'
    b'"prompt_tokens_details":{"cached_tokens":64},"completion_tokens_details":{"reasoning_tokens":12}}}'
)
CHUNK = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-5-mini-2026-08-07",'
    b'"service_tier":"default","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":" sunny"},'
    b'"logprobs":null,"finish_reason":null}]}\n\n'
)
MESSAGES: Any = [
    {"role": "system", "content": "You are a weather bot that answers in one sentence."},
    {"role": "user", "content": "What is the weather in Paris? " * 10},
]


class Dropping(SpanProcessor):
    """The least that a pipeline can do."""


class Pieces(HTTP.SyncByteStream):  # type: ignore[misc, name-defined, unused-ignore]
    """A streamed body, one chunk per event."""

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(CHUNKS):
            yield CHUNK
        yield b"data: [DONE]\n\n"


def answer(request: Any) -> Any:
    """Play the provider."""
    if b'"stream":true' in request.content:
        return HTTP.Response(200, headers={"content-type": "text/event-stream"}, stream=Pieces(), request=request)
    return HTTP.Response(200, headers={"content-type": "application/json"}, content=ANSWER, request=request)


client = openai.OpenAI(api_key="none", http_client=HTTP.Client(transport=HTTP.MockTransport(answer)))
provider = TracerProvider()
provider.add_span_processor(Dropping())


def calls() -> None:
    """Many calls that are answered in one piece."""
    for _ in range(CALLS):
        client.chat.completions.create(model="gpt-5-mini", messages=MESSAGES, temperature=0.5)


def stream() -> None:
    """One long stream."""
    for _ in client.chat.completions.create(model="gpt-5-mini", messages=MESSAGES, stream=True):
        pass


def cpu_us(work: Callable[[], None]) -> float:
    """CPU time of `work` in microseconds."""
    gc.collect()
    gc.disable()
    start = time.process_time_ns()
    work()
    spent = time.process_time_ns() - start
    gc.enable()
    return spent / 1000


def added(work: Callable[[], None], units: int, rounds: int) -> str:
    """Median and quartiles of what recording adds per unit, and the share of the whole."""
    differences: list[float] = []
    plain: list[float] = []
    for turn in range(rounds):
        off_first = turn % 2 == 0
        spent: dict[bool, float] = {}
        for on in (False, True) if off_first else (True, False):
            if on:
                instrument("openai", tracer_provider=provider)
            work()
            spent[on] = cpu_us(work)
            uninstrument("openai")
        differences.append((spent[True] - spent[False]) / units)
        plain.append(spent[False] / units)
    low, middle, high = statistics.quantiles(differences, n=4)
    base = statistics.median(plain)
    return f"+{middle:.2f} us (quartiles {low:.2f} to {high:.2f}) on {base:.1f} us, +{middle / base:.1%}"


def abandoned() -> str:
    """Growth of Python's memory over many streams that are read a little and forgotten."""
    instrument("openai", tracer_provider=provider)

    def forget(count: int) -> None:
        for _ in range(count):
            next(client.chat.completions.create(model="gpt-5-mini", messages=MESSAGES, stream=True))
        gc.collect()

    forget(200)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    forget(ABANDONED)
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    uninstrument("openai")
    return f"{(after - before) / 1024:.0f} KiB more after {ABANDONED} streams (peak {(peak - before) / 1024:.0f} KiB)"


def main() -> None:
    """Print the three figures."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    print("call answered in one piece:", added(calls, CALLS, rounds))
    print("chunk of a stream:         ", added(stream, CHUNKS, rounds))
    print("forgotten streams:         ", abandoned())


if __name__ == "__main__":
    main()
