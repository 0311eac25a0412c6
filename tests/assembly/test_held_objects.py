"""Objects of this library that the app's garbage collector has to visit."""

from __future__ import annotations

import gc

import pytest
from opentelemetry.trace import Link, SpanContext, Tracer

from pandaprobe_otel import PandaProbeSpanProcessor
from spans import CHAT, provider_with

TRACES = 100
OF_A_QUEUED_TRACE = 7
"""The most objects for a trace that waits to be sent, and for the memory of it."""


def visited() -> int:
    """Return the number of objects that the collector visits."""
    gc.collect()
    return len(gc.get_objects())


def make_trace(tracer: Tracer, children: int, parts: int) -> None:
    """Make a trace with this many children, attributes, events and links of each span."""
    attributes = {**CHAT, **{f"list {number}": ["a", "b"] for number in range(parts)}}
    links = [Link(SpanContext(1, 2, is_remote=True), {"a": 1})] * parts
    with tracer.start_as_current_span("root", attributes=CHAT):
        for _ in range(children):
            with tracer.start_as_current_span("child", attributes=attributes, links=links) as span:
                for _ in range(parts):
                    span.add_event("event", {"a": "b"})


@pytest.mark.parametrize(("children", "parts"), [(0, 0), (8, 5)])
def test_a_trace_that_waits_to_be_sent_costs_few_objects(children: int, parts: int) -> None:
    """A trace that waits for a server costs seven objects at most, whatever is in it."""
    processor = PandaProbeSpanProcessor(api_key="k", endpoint="http://127.0.0.1:9", shutdown_timeout_s=0)
    with provider_with(processor) as tracer:
        make_trace(tracer, children, parts)
        processor.force_flush(500)  # objects that are made once exist now
        before = visited()
        for _ in range(TRACES):
            make_trace(tracer, children, parts)
        processor.force_flush(500)
        after = visited()
        status = processor.pipeline.status()

    assert status.spans_pending == (TRACES + 1) * (1 + children)
    assert after - before <= OF_A_QUEUED_TRACE * TRACES + 100
