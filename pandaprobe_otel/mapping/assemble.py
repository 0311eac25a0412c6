"""Mapping of all spans of one trace to the body of POST /traces.

Spans are mapped in stages that each process all spans. Stages are a fifth faster than processing span by span
(benchmarks/mapping), because the interpreter stays in one small loop. Nothing in the stages depends on other spans; the
tree is considered after them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import orjson

from pandaprobe_otel.mapping.attributes import PARTIAL
from pandaprobe_otel.mapping.conservation import add_unsaid
from pandaprobe_otel.mapping.dialects.events import with_details
from pandaprobe_otel.mapping.dialects.pydantic_ai import with_conventions
from pandaprobe_otel.mapping.encoded_spans import NO_SPANS
from pandaprobe_otel.mapping.exact_json import exact_numbers, has_large_float
from pandaprobe_otel.mapping.ids import LOW_64, span_prefix, trace_uuid
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
from pandaprobe_otel.mapping.messages import messages_in
from pandaprobe_otel.mapping.nested_calls import merged_calls
from pandaprobe_otel.mapping.options import MappingOptions
from pandaprobe_otel.mapping.outcomes import is_left, outcome
from pandaprobe_otel.mapping.outgoing import MappedTrace, finished
from pandaprobe_otel.mapping.privacy import restrict, without_hidden
from pandaprobe_otel.mapping.question_and_answer import root_of
from pandaprobe_otel.mapping.shapes import Rows, fill
from pandaprobe_otel.mapping.span_content import add_contents
from pandaprobe_otel.mapping.span_view import EventView, SpanView, read_log
from pandaprobe_otel.mapping.times import rfc3339, start_and_end
from pandaprobe_otel.mapping.token_placement import add_computed_costs, place_numbers
from pandaprobe_otel.mapping.trace_fields import trace_fields
from pandaprobe_otel.mapping.usage import token_usage, usage_of_sides
from pandaprobe_otel.mapping.values import decoded, type_of
from pandaprobe_otel.process.guard import counted, failed

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
    empty = [
        span
        for span in spans
        if span.kind == "TOOL"
        and "tool_call_id" in span.metadata
        and not ("input" in span.body and "output" in span.body)
    ]
    if not empty:
        return
    asked: dict[Any, tuple[Any, MappedSpan]] = {}
    answered: dict[Any, tuple[Any, MappedSpan]] = {}
    for span in spans:
        if span.kind != "LLM":
            continue
        for message in messages_in(span.body.get("output")):
            for call in message.get("tool_calls") or ():
                asked.setdefault(call.get("id"), (decoded(call["function"].get("arguments")), span))
        for message in messages_in(span.body.get("input")):
            if message.get("role") == "tool":
                answered.setdefault(message.get("tool_call_id"), (message.get("content"), span))
    for span in empty:
        for side, known in (("input", asked), ("output", answered)):
            value, source = known.get(span.metadata["tool_call_id"], (None, span))
            if value not in (None, {}) and side not in span.body:
                span.body[side] = value
                put(span, f"{side}_from", {"span_id": source.body["span_id"], "name": source.body["name"]})


def mapped_spans(views: Sequence[SpanView], options: MappingOptions) -> list[MappedSpan]:
    """Map every view. Never raises: an unreadable span keeps its name, its times and its place in the tree."""
    try:
        return _staged(views, options)
    except Exception as error:  # noqa: BLE001 - whatever an attribute holds, the other spans must survive
        counted("the mapping of spans together", error)
        return [_alone(view, options) for view in views]


def _alone(view: SpanView, options: MappingOptions) -> MappedSpan:
    try:
        return _staged((view,), options)[0]
    except Exception as error:  # noqa: BLE001 - whatever an attribute holds, the span itself must survive
        failed("the mapping of a span", error)
        return bare_span(view)


def _staged(views: Sequence[SpanView], options: MappingOptions) -> list[MappedSpan]:
    spans = [*map(mapped_span, views)]
    _set_fields(spans)
    _set_parameters_and_numbers(spans)
    add_contents(spans, options)
    _set_models_and_times(spans)
    if options.captures_all:
        add_unsaid(spans)
    else:
        for span in spans:
            restrict(span, options.capture_of(span.kind))
    return spans


def _set_fields(spans: Sequence[MappedSpan]) -> None:
    """Set ids, name, kind, status, error and metadata."""
    trace_id, prefix, parent_id, parent = -1, "", None, ""

    for span in spans:
        view, shape, found, metadata = span.view, span.shape, span.found, span.metadata
        if view.trace_id != trace_id:
            trace_id, parent_id = view.trace_id, None
            prefix = span_prefix(trace_id)
        # The same as `span_uuid`, whose call would take as long as these two conversions.
        span_id = prefix + (view.span_id & LOW_64).to_bytes(8, "big").hex("-", 6)
        if view.parent_id != parent_id:  # siblings often follow one another
            parent_id = view.parent_id
            parent = prefix + ((parent_id or 0) & LOW_64).to_bytes(8, "big").hex("-", 6)
        if view.status_code != "ERROR" and not shape.may_fail and not view.events:
            status, error = "UNSET" if view.end_ns is None else "OK", None
        else:
            status, error, told = outcome(view, found)
            if told is not None:
                found = span.found = {**found, "outcome": told}
        name = view.name
        if shape.tells_name or type_of(name) is not str or not 0 < len(name) <= MAX_NAME:
            name = name_of(span)
        name = name.strip() or "span"
        if parent_id and error is None:
            body = span.body = {  # created in one step if possible, because a growing dict is copied
                "span_id": span_id,
                "name": name,
                "kind": span.kind,
                "status": status,
                "parent_span_id": parent,
                "metadata": metadata,
            }
        else:
            body = span.body = {"span_id": span_id, "name": name, "kind": span.kind, "status": status}
            if parent_id:
                body["parent_span_id"] = parent
            if error is not None:
                body["error"] = error
            body["metadata"] = metadata
        if shape.metadata:
            fill(metadata, shape.metadata, view.attributes, span.unusable)
        if shape.tells_metadata:
            add_own_metadata(span)
        if view.scope_name:
            if "scope" in metadata:
                put(span, "scope", view.scope_name)
            else:
                metadata["scope"] = view.scope_name
        if error is not None or view.links or view.dropped is not None or status == "UNSET":
            add_rare_metadata(span)


def _set_models_and_times(spans: Sequence[MappedSpan]) -> None:
    """Set the models, the starts and ends, and the times of the first tokens, which must lie between them."""
    for span in spans:
        body, view = span.body, span.view
        if "model" in span.found:
            add_model(span)
        start, end = view.start_ns, view.end_ns
        if end is None:
            body["started_at"] = rfc3339(start)
        else:
            body["started_at"], body["ended_at"] = start_and_end(start, end if end > start else start)
        if span.shape.may_be_left and span.kind == "LLM" and body["status"] == "OK" and is_left(span):
            body["status"] = "UNSET"
            span.found = {**span.found, "outcome": PARTIAL}
            put(span, "outcome", PARTIAL)
        if span.shape.times_first_token and (first := first_token_ns(span)) is not None:
            body["completion_start_time"] = rfc3339(first)


def _set_parameters_and_numbers(spans: Sequence[MappedSpan]) -> None:
    for span in spans:
        shape, found, parameters = span.shape, span.found, span.parameters
        if shape.tells_parameters:
            parameters = {**parameters}
            if "parameters" in found:
                bag, rows = found["parameters"], (*shape.cached.parameters, *shape.parameters)
                parameters |= bag
                span.unusable += [source for name, source, _ in rows if name in bag and type(source) is str]
            fill(parameters, shape.parameters, span.view.attributes, span.unusable)
        if parameters:
            span.body["model_parameters"] = parameters
        if not shape.counts:
            continue
        if shape.two_sides is not None:
            span.usage = usage_of_sides(*shape.two_sides(span.view.attributes))
        elif shape.usage or "usage.bag" in found:
            span.usage = _counts(span, shape.usage, "usage.bag")
        if shape.aggregated or "aggregated.bag" in found:
            span.aggregated = _counts(span, shape.aggregated, "aggregated.bag")
        if "cost" in found:
            span.cost = found["cost"]


def _counts(span: MappedSpan, rows: Rows, bag: str) -> dict[str, int] | None:
    counts: dict[str, int] = {}
    fill(counts, rows, span.view.attributes, span.unusable)
    return token_usage(counts, span.found.get(bag), span.view.scope_name)


def bare_span(view: SpanView) -> MappedSpan:
    """Return the span with only its name and times, and a note that its attributes could not be read."""
    bare = dataclasses.replace(view, attributes={}, events=(), links=(), scope_name="", dropped=None)
    span = mapped_span(bare, "OTHER")
    _set_fields((span,))
    span.metadata["unreadable"] = True
    _set_models_and_times((span,))
    return span
