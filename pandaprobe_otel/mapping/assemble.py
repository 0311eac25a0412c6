"""Mapping of all spans of one trace to the body of POST /traces."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import orjson

from pandaprobe_otel.mapping.dialects.events import with_details
from pandaprobe_otel.mapping.dialects.pydantic_ai import with_conventions
from pandaprobe_otel.mapping.encoded_spans import NO_SPANS
from pandaprobe_otel.mapping.exact_json import exact_numbers, has_large_float
from pandaprobe_otel.mapping.exact_types import type_of
from pandaprobe_otel.mapping.ids import trace_uuid
from pandaprobe_otel.mapping.kinds import is_dropped
from pandaprobe_otel.mapping.mapped_span import MappedSpan
from pandaprobe_otel.mapping.nested_calls import merged_calls
from pandaprobe_otel.mapping.options import MappingOptions
from pandaprobe_otel.mapping.outgoing import MappedTrace, finished
from pandaprobe_otel.mapping.prices import add_computed_costs
from pandaprobe_otel.mapping.privacy import without_hidden
from pandaprobe_otel.mapping.span_fields import put
from pandaprobe_otel.mapping.span_view import EventView, SpanView, read_log
from pandaprobe_otel.mapping.stages import bare_span, mapped_spans
from pandaprobe_otel.mapping.times import rfc3339
from pandaprobe_otel.mapping.token_placement import place_numbers
from pandaprobe_otel.mapping.trace_fields import root_of, trace_fields
from pandaprobe_otel.mapping.values import decoded
from pandaprobe_otel.process.guard import failed

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

_DEFAULTS: Final = MappingOptions()
_NEVER: Final = 1 << 63


def map_trace(spans: Sequence[ReadableSpan], log_records: Iterable[Any] = ()) -> dict[str, Any]:
    """Return the JSON body of POST /traces for the spans of one trace, in any dialect and any order.

    It contains every span, whatever their number, except Logfire's copies of pending spans; two spans of the same model
    call, one inside the other, become one. Log records with content
    of the spans are joined by span id. The result is deterministic, contains only plain JSON values, and is safe to
    send (no NUL, no lone surrogate, no non-finite number, no nesting that the server cannot store). Without spans, the
    result contains only an empty list of spans. Never raises.
    """
    trace = map_views([_read(span) for span in spans], log_records)
    return orjson.loads(trace.encoded()) if trace.spans else {"spans": []}


def map_views(
    views: Sequence[SpanView],
    log_records: Iterable[Any] = (),
    *,
    whole: bool = True,
    options: MappingOptions = _DEFAULTS,
) -> MappedTrace:
    """Map the views of one trace.

    If `whole` is false, the views are only part of the trace. Sums of agents and chains then stay in the metadata,
    because the summed calls may be in the other part. Never raises.
    """
    views = [
        one
        for view in views
        if (one := view if view.shape is not None and view.shape.is_span else _readable(view)) is not None
    ]
    if not views:
        return MappedTrace({}, [], b"{}", NO_SPANS)
    try:
        records = tuple(log_records)
        mapped = _mapped(views, records, whole, options)
        if has_large_float(mapped.encoded_trace, mapped.encoded_spans.joined):
            with exact_numbers():
                return _mapped(views, records, whole, options)
        return mapped
    except Exception as error:  # noqa: BLE001 - whatever a span holds, the app must not notice and the trace must not be lost
        failed("the mapping of a trace", error)
        return _skeleton(views, options)


def _readable(view: SpanView) -> SpanView | None:
    return None if is_dropped(view) else with_conventions(view)


def _mapped(views: Sequence[SpanView], log_records: Sequence[Any], whole: bool, options: MappingOptions) -> MappedTrace:
    if log_records:
        views = _with_logs(views, log_records)
    if any(map(_events, views)):
        views = [*map(with_details, views)]
    if options.hidden:
        views = [without_hidden(view, options.hidden, options.hidden_in_calls) for view in views]
    spans, merged = merged_calls(mapped_spans(_sorted(views), options), captures_all=options.captures_all)
    if options.captures_all:
        _fill_tools(spans)
    place_numbers(spans, whole=whole)
    if options.price is not None:
        add_computed_costs(spans, options.price)
    root = root_of(spans)
    mapped = _finished(spans, root, trace_fields(spans, root, options), options)
    return dataclasses.replace(mapped, merged=merged) if merged else mapped


def _skeleton(views: Sequence[SpanView], options: MappingOptions) -> MappedTrace:
    """Return the trace with only names, times and the tree, and a note that the rest could not be read."""
    spans = [bare_span(view) for view in _sorted(views)]
    root = root_of(spans)
    fields = {"name": root.body["name"], "status": "COMPLETED", "metadata": {"unreadable": True}}
    return _finished(spans, root, fields, options)


def _finished(
    spans: Sequence[MappedSpan], root: MappedSpan, fields: dict[str, Any], options: MappingOptions
) -> MappedTrace:
    """Add the id and the times of the trace: the earliest start and the latest end. `spans` is sorted by start."""
    first = spans[0]
    trace = {"trace_id": trace_uuid(root.view.trace_id), **fields, "started_at": first.body["started_at"]}
    if ends := [span.view.end_ns for span in spans if span.view.end_ns is not None]:
        trace["ended_at"] = rfc3339(max(max(ends), first.view.start_ns))
    return finished(trace, [*map(_body, spans)], options)


_body: Final[Callable[[MappedSpan], dict[str, Any]]] = attrgetter("body")


def _sorted(views: Sequence[SpanView]) -> list[SpanView]:
    by_start = sorted(views, key=_start)
    is_told = len({*map(_start, by_start)}) == len(by_start)  # both run in C; spans of one trace rarely start together
    return by_start if is_told else sorted(by_start, key=_order)


_start: Final[Callable[[SpanView], int]] = attrgetter("start_ns")
_events: Final[Callable[[SpanView], tuple[EventView, ...]]] = attrgetter("events")


def _order(view: SpanView) -> tuple[int, int, int]:
    """Return the sort key: by start, then by end (the latest first, so that parents precede children), then by id."""
    return view.start_ns, -(view.end_ns or _NEVER), view.span_id


def _read(span: ReadableSpan) -> SpanView:
    # Imported here, because the rest of the mapping works without an SDK.
    from pandaprobe_otel.mapping.sdk_span import read_span

    try:
        return read_span(span)
    except Exception as error:  # noqa: BLE001 - the span of another SDK; the rest of the trace must not be lost
        failed("the reading of a span", error)
        return SpanView(str(getattr(span, "name", "span")), 0, 0)


def _with_logs(views: Sequence[SpanView], log_records: Iterable[Any]) -> list[SpanView]:
    """Return the views with their log records added to the events."""
    logs: dict[tuple[int, int], list[EventView]] = {}
    for record in log_records:
        log = read_log(record)
        if log is not None:
            logs.setdefault((log.trace_id, log.span_id), []).append(log.event)
    return [
        dataclasses.replace(view, events=(*view.events, *own))
        if (own := logs.get((view.trace_id, view.span_id)))
        else view
        for view in views
    ]


def _fill_tools(spans: Sequence[MappedSpan]) -> None:
    """Set the missing inputs and outputs of tools, and note in the metadata from which span they are.

    They stand in the model calls of the trace, under the id of the tool call: Google ADK 2 and AutoGen record them only
    there, and evaluations read the spans of tools.
    """
    called = [span for span in spans if span.kind == "TOOL" and "tool_call_id" in span.metadata]
    empty = [span for span in called if not ("input" in span.body and "output" in span.body)]
    if not empty:
        return
    asked: dict[Any, tuple[Any, MappedSpan]] = {}
    answered: dict[Any, tuple[Any, MappedSpan]] = {}
    for span in spans:
        if span.kind != "LLM":
            continue
        for message in _messages(span, "output"):
            for call in message.get("tool_calls") or ():
                asked.setdefault(call.get("id"), (decoded(call["function"].get("arguments")), span))
        for message in _messages(span, "input"):
            if message.get("role") == "tool":
                answered.setdefault(message.get("tool_call_id"), (message.get("content"), span))
    for span in empty:
        for side, known in (("input", asked), ("output", answered)):
            value, source = known.get(span.metadata["tool_call_id"], (None, span))
            if value not in (None, {}) and side not in span.body:
                span.body[side] = value
                put(span, f"{side}_from", {"span_id": source.body["span_id"], "name": source.body["name"]})


def _messages(span: MappedSpan, side: str) -> list[Any]:
    value: Any = span.body.get(side)
    messages: Any = value.get("messages") if type_of(value) is dict else None
    return [one for one in messages if type_of(one) is dict] if type_of(messages) is list else []
