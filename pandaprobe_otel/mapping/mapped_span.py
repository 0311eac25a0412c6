"""Span while it is mapped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pandaprobe_otel.mapping.attribute_shape import Shape
from pandaprobe_otel.mapping.kinds import kind_in
from pandaprobe_otel.mapping.lookup_plan import shape_of
from pandaprobe_otel.mapping.span_view import SpanView
from pandaprobe_otel.mapping.table_rows import NOTHING, known


@dataclass(slots=True, init=False, eq=False)
class MappedSpan:
    """Span while it is mapped: its view, its shape, the fields found in it, and the body to send."""

    view: SpanView
    shape: Shape
    kind: str
    parameters: Mapping[str, Any]
    """Model parameters from low-cardinality attributes; must not be changed."""
    found: Mapping[str, Any]
    metadata: dict[str, Any]
    body: dict[str, Any]
    """Set by the first stage."""
    usage: dict[str, int] | None
    """Token counts of the span itself, until the tree determines where they belong."""
    aggregated: dict[str, int] | None
    """Counts that the emitter itself marks as a sum."""
    cost: dict[str, float] | None
    unusable: list[str]
    """Attributes whose values their rows could not use."""
    read_all: bool
    """True if the readers of content read everything in its sources."""


def mapped_span(view: SpanView, kind: str | None = None) -> MappedSpan:
    """Start mapping a span. It replaces `__init__`, whose call takes twice as long (benchmarks/mapping)."""
    span = MappedSpan()
    shape: Shape = view.shape or shape_of(view)
    cached = shape.cached
    try:
        result = known[cached.key, cached.values(view.attributes)] if cached.values is not None else NOTHING
    except (KeyError, TypeError):  # not known yet; TypeError: one of the values is a list
        result = cached.read(view.attributes)
    told, found, metadata, span.parameters, unusable = result
    span.view, span.shape, span.metadata = view, shape, {**metadata}
    span.unusable, span.read_all = [*unusable], True
    span.kind = kind or told or kind_in(shape, view)
    span.found = shape.read(view, found, span.unusable) if shape.asks else found
    span.usage = span.aggregated = span.cost = None
    return span
