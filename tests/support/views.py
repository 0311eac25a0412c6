"""Views of spans, made by hand: the mapping's input, without an SDK."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pandaprobe_otel.mapping import EventView, LogView, MappingOptions, SpanView, map_views

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
TRACE_ID = 0xABC


def view(
    name: str = "span",
    attributes: Mapping[str, Any] | None = None,
    *,
    span_id: int = 1,
    parent: int | None = None,
    at: float = 0.0,
    lasts: float | None = 1.0,
    events: Sequence[EventView] = (),
    **fields: Any,
) -> SpanView:
    """Return a view that starts `at` seconds after START and lasts this many seconds (None: the span is still open)."""
    start = START + int(at * SECOND)
    return SpanView(
        name,
        TRACE_ID,
        span_id,
        parent,
        start_ns=start,
        end_ns=None if lasts is None else start + int(lasts * SECOND),
        attributes=dict(attributes or {}),
        events=tuple(events),
        **fields,
    )


def mapped(
    *views: SpanView, logs: Sequence[LogView] = (), options: MappingOptions | None = None, whole: bool = True
) -> dict[str, Any]:
    """Return the body of the trace of these views."""
    trace = map_views(views, logs, whole=whole, options=options or MappingOptions())
    return {**trace.trace, "spans": trace.spans}


def only_span(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the one span of a trace's body."""
    (span,) = body["spans"]
    return dict(span)


def mapped_span(
    name: str = "span",
    attributes: Mapping[str, Any] | None = None,
    *,
    options: MappingOptions | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Return the span of a trace's body that has this span alone."""
    return only_span(mapped(view(name, attributes, **fields), options=options))
