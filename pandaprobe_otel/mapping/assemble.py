"""Mapping of all spans of one trace to the body of POST /traces.

Spans are mapped in stages that each process all spans. Stages are a fifth faster than processing span by span
(benchmarks/mapping), because the interpreter stays in one small loop. Nothing in the stages depends on other spans; the
tree is considered after them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import orjson

from pandaprobe_otel.mapping.attributes import PARTIAL
from pandaprobe_otel.mapping.dialects.frameworks import with_conventions
from pandaprobe_otel.mapping.dialects.otel_genai import with_details
from pandaprobe_otel.mapping.encoded_spans import NO_SPANS
from pandaprobe_otel.mapping.exact_json import exact_numbers
from pandaprobe_otel.mapping.ids import LOW_64, rfc3339, span_prefix, trace_uuid
from pandaprobe_otel.mapping.kinds import is_dropped
from pandaprobe_otel.mapping.mapped_span import (
    MAX_NAME,
    MappedSpan,
    add_model,
    add_own_metadata,
    add_rare_metadata,
    first_token_ns,
    mapped_span,
    name_of,
    put,
)
from pandaprobe_otel.mapping.model_calls import add_computed_costs, fill_tools, merged_calls, place_numbers
from pandaprobe_otel.mapping.options import MappingOptions
from pandaprobe_otel.mapping.outcomes import is_left, outcome
from pandaprobe_otel.mapping.outgoing import MappedTrace, finished, has_large_float
from pandaprobe_otel.mapping.privacy import restrict
from pandaprobe_otel.mapping.shapes import Rows, fill
from pandaprobe_otel.mapping.span_content import add_contents, add_unsaid
from pandaprobe_otel.mapping.span_view import EventView, SpanView, read_log
from pandaprobe_otel.mapping.trace_fields import root_of, trace_fields
from pandaprobe_otel.mapping.usage import token_usage
from pandaprobe_otel.mapping.values import type_of
from pandaprobe_otel.process.guard import counted, failed

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

_DEFAULTS: Final = MappingOptions()
_NEVER: Final = 1 << 63
_NONE: Final[Mapping[int, int]] = {}


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
    by_start: list[SpanView] = []
    for view in views:
        if view.shape is not None and view.shape.is_span:
            by_start.append(view)
        elif not is_dropped(view):
            by_start.append(with_conventions(view))
    if not by_start:
        return MappedTrace({}, [], b"{}", NO_SPANS, _NONE)
    by_start.sort(key=_start)
    if len({*map(_start, by_start)}) < len(by_start):  # rare, so most sort keys are made in C
        by_start.sort(key=_order)
    try:
        records = tuple(log_records)
        mapped = _mapped(by_start, records, whole, options)
        if has_large_float(mapped.encoded_trace, mapped.encoded_spans.joined):
            with exact_numbers():
                return _mapped(by_start, records, whole, options)
        return mapped
    except Exception as error:  # noqa: BLE001 - whatever a span holds, the app must not notice and the trace must not be lost
        failed("the mapping of a trace", error)
        spans = [bare_span(view) for view in by_start]
        root = root_of(spans)
        fields = {"name": root.body["name"], "status": "COMPLETED", "metadata": {"unreadable": True}}
        return _finished(spans, root, fields, options)


_start: Final[Callable[[SpanView], int]] = attrgetter("start_ns")
_events: Final[Callable[[SpanView], tuple[EventView, ...]]] = attrgetter("events")


def _order(view: SpanView) -> tuple[int, int, int]:
    """Return the sort key: by start, then by end (the latest first, so that parents precede children), then by id."""
    return view.start_ns, -(view.end_ns or _NEVER), view.span_id


def _mapped(views: Sequence[SpanView], log_records: Sequence[Any], whole: bool, options: MappingOptions) -> MappedTrace:
    """Map views that are sorted by start."""
    if log_records:
        views = _with_logs(views, log_records)
    if any(map(_events, views)):
        views = [*map(with_details, views)]
    try:
        every = _staged(views, options)
    except Exception as error:  # noqa: BLE001 - whatever an attribute holds, the other spans must survive
        counted("the mapping of spans together", error)
        every = [_alone(view, options) for view in views]
    spans, merged = merged_calls(every, captures_all=options.captures_all)
    if options.captures_all:
        fill_tools(spans)
    place_numbers(spans, whole=whole)
    if options.price is not None:
        add_computed_costs(spans, options.price)
    root = root_of(spans)
    return _finished(spans, root, trace_fields(spans, root, options), options, merged)


_body: Final[Callable[[MappedSpan], dict[str, Any]]] = attrgetter("body")


def _finished(
    spans: Sequence[MappedSpan],
    root: MappedSpan,
    fields: dict[str, Any],
    options: MappingOptions,
    merged: Mapping[int, int] = _NONE,
) -> MappedTrace:
    """Add the id and the times of the trace: the earliest start and the latest end. `spans` is sorted by start."""
    bodies = [*map(_body, spans)]
    trace = {"trace_id": trace_uuid(root.view.trace_id), **fields, "started_at": bodies[0]["started_at"]}
    if ended := [at for body in bodies if (at := body.get("ended_at"))]:
        trace["ended_at"] = max(ended)
    return finished(trace, bodies, options, merged)


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


def _alone(view: SpanView, options: MappingOptions) -> MappedSpan:
    try:
        return _staged((view,), options)[0]
    except Exception as error:  # noqa: BLE001 - whatever an attribute holds, the span itself must survive
        failed("the mapping of a span", error)
        return bare_span(view)


def _staged(views: Sequence[SpanView], options: MappingOptions) -> list[MappedSpan]:
    spans = [*map(mapped_span, views)]
    _set_fields(spans)
    add_contents(spans, options)
    _set_numbers_and_times(spans)
    if options.captures_all:
        add_unsaid(spans)
    else:
        for span in spans:
            restrict(span, options.capture_of(span.kind))
    return spans


def _set_fields(spans: Sequence[MappedSpan]) -> None:
    """Set ids, name, kind, status, error and metadata."""
    trace_id, prefix = -1, ""
    for span in spans:
        view, shape, found, metadata = span.view, span.shape, span.found, span.metadata
        if view.trace_id != trace_id:
            trace_id = view.trace_id
            prefix = span_prefix(trace_id)
        status, error = "UNSET" if view.end_ns is None else "OK", None
        if view.status_code == "ERROR" or shape.may_fail or view.events:
            status, error, told = outcome(view, found)
            if told is not None:
                found = span.found = {**found, "outcome": told}
        name = view.name
        if shape.tells_name or type_of(name) is not str or not 0 < len(name) <= MAX_NAME:
            name = name_of(span)
        body = span.body = {
            # The same as `span_uuid`, whose call would take as long as these two conversions.
            "span_id": prefix + (view.span_id & LOW_64).to_bytes(8, "big").hex("-", 6),
            "name": name.strip() or "span",
            "kind": span.kind,
            "status": status,
        }
        if view.parent_id:
            body["parent_span_id"] = prefix + (view.parent_id & LOW_64).to_bytes(8, "big").hex("-", 6)
        if error is not None:
            body["error"] = error
        body["metadata"] = metadata
        if shape.metadata:
            fill(metadata, shape.metadata, view, span.unusable)
        if shape.custom or "metadata" in found:
            add_own_metadata(span)
        if view.scope_name:
            if "scope" in metadata:
                put(span, "scope", view.scope_name)
            else:
                metadata["scope"] = view.scope_name
        if error is not None or view.links or view.dropped is not None or status == "UNSET":
            add_rare_metadata(span)


def _set_numbers_and_times(spans: Sequence[MappedSpan]) -> None:
    """Set parameters, counts, models, and the times: those of the first tokens must lie between start and end."""
    for span in spans:
        body, view, shape, found, parameters = span.body, span.view, span.shape, span.found, span.parameters
        if shape.parameters or "parameters" in found:
            parameters = {**parameters}
            if "parameters" in found:
                bag, rows = found["parameters"], (*shape.cached[2], *shape.parameters)
                parameters |= bag
                span.unusable += [source for name, source, _ in rows if name in bag and type(source) is str]
            fill(parameters, shape.parameters, view, span.unusable)
        if parameters:
            body["model_parameters"] = parameters
        if shape.counts:
            span.usage = _counts(span, shape.usage, "usage.bag")
            span.aggregated = _counts(span, shape.aggregated, "aggregated.bag")
            span.cost = found.get("cost")
        if "model" in found:
            add_model(span)
        start, end = view.start_ns, view.end_ns
        body["started_at"] = rfc3339(start)
        if end is not None:
            body["ended_at"] = rfc3339(end if end > start else start)
        if span.kind == "LLM" and body["status"] == "OK" and is_left(span):
            body["status"] = "UNSET"
            span.found = {**found, "outcome": PARTIAL}
            put(span, "outcome", PARTIAL)
        if shape.times_first_token and (first := first_token_ns(span)) is not None:
            body["completion_start_time"] = rfc3339(first)


def _counts(span: MappedSpan, rows: Rows, bag: str) -> dict[str, int] | None:
    if not rows and bag not in span.found:
        return None
    counts: dict[str, int] = {}
    fill(counts, rows, span.view, span.unusable)
    return token_usage(counts, span.found.get(bag), span.view.scope_name)


def bare_span(view: SpanView) -> MappedSpan:
    """Return the span with only its name and times, and a note that its attributes could not be read."""
    bare = dataclasses.replace(view, attributes={}, events=(), links=(), scope_name="", dropped=None)
    span = mapped_span(bare, "OTHER")
    _set_fields((span,))
    span.metadata["unreadable"] = True
    _set_numbers_and_times((span,))
    return span
