"""A span while it is mapped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pandaprobe_otel.mapping.shape import Shape
from pandaprobe_otel.mapping.steady import Steady
from pandaprobe_otel.mapping.view import SpanView


class MappedSpan:
    """A view, what the tables say about its shape, the fields found in it, and the body that is sent."""

    __slots__ = ("aggregated", "body", "cost", "found", "kind", "metadata", "shape", "steady", "usage", "view")

    view: SpanView
    shape: Shape
    kind: str
    steady: Steady
    found: Mapping[str, Any]
    metadata: dict[str, Any]
    body: dict[str, Any]
    """Set by the first stage."""
    usage: dict[str, int] | None
    """The span's own token counts, until the tree decides where they stand."""
    aggregated: dict[str, int] | None
    """Counts that the emitter itself calls a sum."""
    cost: dict[str, float] | None


def mapped_span(view: SpanView, shape: Shape, kind: str, steady: Steady) -> MappedSpan:
    """Begin to map a span. Not the class's `__init__`, which takes twice as long to be called (benchmarks/mapping)."""
    span = MappedSpan()
    span.view, span.shape, span.kind, span.steady = view, shape, kind, steady
    span.found = shape.read(view, steady.found) if shape.asks else steady.found
    span.metadata = dict(steady.metadata)
    span.usage = span.aggregated = span.cost = None
    return span
