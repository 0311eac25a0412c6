"""Mapping of spans to the bodies of PandaProbe spans, in stages that each process all spans of a trace.

Stages are a fifth faster than processing span by span (benchmarks/mapping), because the interpreter stays in one small
loop. Nothing here depends on other spans; the tree is considered later.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pandaprobe_otel.mapping.attributes import PARTIAL
from pandaprobe_otel.mapping.conservation import add_unsaid
from pandaprobe_otel.mapping.exact_types import type_of
from pandaprobe_otel.mapping.ids import LOW_64, span_prefix
from pandaprobe_otel.mapping.mapped_span import MappedSpan, mapped_span
from pandaprobe_otel.mapping.options import MappingOptions
from pandaprobe_otel.mapping.privacy import restrict
from pandaprobe_otel.mapping.span_content import add_contents
from pandaprobe_otel.mapping.span_fields import (
    MAX_NAME,
    add_model,
    add_own_metadata,
    add_rare_metadata,
    first_token_ns,
    name_of,
    put,
)
from pandaprobe_otel.mapping.span_view import SpanView
from pandaprobe_otel.mapping.status import is_left, outcome
from pandaprobe_otel.mapping.table_rows import Rows, fill
from pandaprobe_otel.mapping.times import rfc3339, start_and_end
from pandaprobe_otel.mapping.usage import token_usage, usage_of_sides
from pandaprobe_otel.process.guard import counted, failed


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
        for span in spans:
            if not span.read_all or span.shape.watched or span.unusable or span.view.events:
                add_unsaid(span)
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
            parameters = {**parameters, **found["parameters"]} if "parameters" in found else {**parameters}
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
