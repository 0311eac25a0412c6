"""Decorators and blocks that make spans: `trace`, `span`, `agent`, `tool`, `llm`, `chain`, `retriever`, `embedding`.

They need the OpenTelemetry API only, so that libraries can ship them; until the app sets up a tracer provider
(`pandaprobe_otel.init()` does), they make no span and cost next to nothing.
"""

from __future__ import annotations

from pandaprobe_otel.decorators.factories import SpanBlock, SpanFactory
from pandaprobe_otel.decorators.handles import SpanHandle, TraceHandle
from pandaprobe_otel.decorators.public import agent, chain, embedding, llm, retriever, span, start_trace, tool, trace

__all__ = [
    "SpanBlock",
    "SpanFactory",
    "SpanHandle",
    "TraceHandle",
    "agent",
    "chain",
    "embedding",
    "llm",
    "retriever",
    "span",
    "start_trace",
    "tool",
    "trace",
]
