"""CPU time of mapping and encoding an agent's trace, compared with the OTLP protobuf encoder on the same spans.

Both sides start from the SDK's finished spans and end with the bytes of a request, in one process and alternating, so
that a noisy machine affects both. The figure is the median of the ratios, with its quartiles. The OTLP side needs
`pip install opentelemetry-exporter-otlp-proto-common`.

    python benchmarks/mapping/bench_mapping.py [repeats]
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "delivery"))

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from workloads import emit_otel, stories

from pandaprobe_otel.mapping import map_views, read_span

TRACES = 40
# The reference is not a dependency: pip install opentelemetry-exporter-otlp-proto-common
encode_spans: Any = import_module("opentelemetry.exporter.otlp.proto.common.trace_encoder").encode_spans


def agent_traces() -> list[Sequence[ReadableSpan]]:
    """Return the finished spans of the traces of W1."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traces: list[Sequence[ReadableSpan]] = []
    for story in stories("W1", TRACES):
        exporter.clear()
        emit_otel(provider.get_tracer("bench", "1.0"), story)
        traces.append(exporter.get_finished_spans())
    return traces


def mapped(spans: Sequence[ReadableSpan]) -> bytes:
    return map_views([read_span(span) for span in spans]).encoded()


def otlp(spans: Sequence[ReadableSpan]) -> bytes:
    return bytes(encode_spans(spans).SerializeToString())


def cpu(work: Callable[[Sequence[ReadableSpan]], bytes], traces: Sequence[Sequence[ReadableSpan]]) -> float:
    gc.collect()
    started = time.thread_time()
    for spans in traces:
        work(spans)
    return time.thread_time() - started


def main() -> None:
    traces = agent_traces()
    spans = sum(map(len, traces))
    cpu(mapped, traces), cpu(otlp, traces)
    pairs = [(cpu(mapped, traces), cpu(otlp, traces)) for _ in range(int(sys.argv[1]) if sys.argv[1:] else 15)]
    ratios = [ours / theirs for ours, theirs in pairs]
    low, _, high = statistics.quantiles(ratios, n=4)
    print(f"mapping + JSON {statistics.median(a for a, _ in pairs) / spans * 1e6:6.1f} us/span")
    print(f"OTLP protobuf  {statistics.median(b for _, b in pairs) / spans * 1e6:6.1f} us/span")
    print(f"ratio {statistics.median(ratios):.2f} ({low:.2f}-{high:.2f}); target <= 0.40")


if __name__ == "__main__":
    main()
