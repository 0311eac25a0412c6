"""One span -> the fields of a PandaProbe span, everything but the questions that need the whole trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pandaprobe_otel.mapping.custom import custom_attributes
from pandaprobe_otel.mapping.exact import type_of
from pandaprobe_otel.mapping.kind_names import MODEL_KINDS
from pandaprobe_otel.mapping.kinds import kind_in
from pandaprobe_otel.mapping.mapped_span import MappedSpan
from pandaprobe_otel.mapping.options import MappingOptions
from pandaprobe_otel.mapping.privacy import restrict
from pandaprobe_otel.mapping.shape import Rows, Shape, fill, shape_of
from pandaprobe_otel.mapping.span_content import add_content
from pandaprobe_otel.mapping.status import last_exception, outcome
from pandaprobe_otel.mapping.text import short_text
from pandaprobe_otel.mapping.times import rfc3339
from pandaprobe_otel.mapping.usage import token_usage
from pandaprobe_otel.mapping.view import SpanView

MAX_NAME: Final = 512
MAX_ID: Final = 255
MAX_LINKS: Final = 32
MAX_STACK_TRACE: Final = 4096


def map_span(view: SpanView, ids: tuple[str, str | None], options: MappingOptions) -> MappedSpan:
    """Map one span; `ids` are its own UUID and its parent's."""
    shape = shape_of(view)
    kind = kind_in(shape, view)
    found = shape.read(view)
    status, error = outcome(view, found)
    metadata = _metadata(shape, view, kind, found)
    body: dict[str, Any] = {"span_id": ids[0]}
    if ids[1] is not None:
        body["parent_span_id"] = ids[1]
    body["name"] = _name(view, kind, found)
    body["kind"] = kind
    body["status"] = status
    capture = options.capture_of(kind)
    if shape.contents and capture == "all":
        add_content(body, metadata, shape, view, kind, options)
    _add_model(body, metadata, kind, found)
    _add_parameters(body, shape, view, found)
    if error is not None:
        body["error"] = error
        _add_error(metadata, view, found)
    body["metadata"] = metadata
    _add_times(body, view, found)
    if capture != "all":
        restrict(body, capture)
    return MappedSpan(
        view,
        kind,
        found,
        shape.has_context,
        body,
        _usage(shape.usage, "usage.bag", view, found),
        _usage(shape.aggregated, "aggregated.bag", view, found),
        found.get("cost"),
    )


def _usage(rows: Rows, bag: str, view: SpanView, found: Mapping[str, Any]) -> dict[str, int] | None:
    if not rows and bag not in found:
        return None
    counts: dict[str, int] = {}
    fill(counts, rows, view.attributes)
    return token_usage(counts, found.get(bag), view.scope_name)


def _add_parameters(body: dict[str, Any], shape: Shape, view: SpanView, found: Mapping[str, Any]) -> None:
    parameters: dict[str, Any] = found.get("parameters") or {}
    if shape.parameters:
        fill(parameters, shape.parameters, view.attributes)
    if parameters:
        body["model_parameters"] = parameters


def _name(view: SpanView, kind: str, found: Mapping[str, Any]) -> str:
    name = found.get("tool_name") if kind == "TOOL" else None
    if name is None:
        name = found.get("display_name")
    if name is None and (function := found.get("function_id")) is not None:
        name = f"{function}: {found.get('operation_id', view.name)}"
    if name is None:
        name = view.name
    name = name.strip()
    return short_text(name, MAX_NAME) if name else "span"


def _add_model(body: dict[str, Any], metadata: dict[str, Any], kind: str, found: Mapping[str, Any]) -> None:
    model = found.get("model")
    if model is None:
        return
    short = short_text(model, MAX_ID)
    if kind in MODEL_KINDS:
        body["model"] = short
        if short is not model:
            metadata["full_model"] = model
    else:
        metadata["model"] = model
    if metadata.get("request_model") == model:
        del metadata["request_model"]


def _add_times(body: dict[str, Any], view: SpanView, found: Mapping[str, Any]) -> None:
    start, end = view.start_ns, view.end_ns
    body["started_at"] = rfc3339(start)
    first = found.get("first_token_ns")
    if first is None and (after := found.get("first_token_after")) is not None:
        first = start + after
    if first is None:
        first = found.get("first_token_event")
    if end is not None:
        body["ended_at"] = rfc3339(max(end, start))
    if first is not None and start <= first and (end is None or first <= end):
        body["completion_start_time"] = rfc3339(first)


def _metadata(shape: Shape, view: SpanView, kind: str, found: Mapping[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    fill(metadata, shape.metadata, view.attributes)
    if kind != "OTHER":
        metadata.pop("operation", None)
    if (bag := found.get("metadata")) is not None:
        for key, value in bag.items():
            metadata.setdefault(key, value)
    if shape.custom and (own := custom_attributes(shape.custom, view.attributes)):
        metadata["attributes"] = own
    if view.scope_name:
        metadata["scope"] = view.scope_name
    if view.links:
        metadata["links"] = [
            {"trace_id": f"{link.trace_id:032x}", "span_id": f"{link.span_id:016x}"} for link in view.links[:MAX_LINKS]
        ]
    if view.dropped_attributes:
        metadata["dropped_attributes"] = view.dropped_attributes
    return metadata


def _add_error(metadata: dict[str, Any], view: SpanView, found: Mapping[str, Any]) -> None:
    if (error_type := found.get("error_type")) is not None:
        metadata["error_type"] = error_type
    exception = last_exception(view)
    if exception is None:
        return
    for key, name in (("exception.type", "exception_type"), ("exception.stacktrace", "stack_trace")):
        value = exception.attributes.get(key)
        if type_of(value) is str and value:
            # The end of a stack trace is where it happened.
            metadata[name] = value[-MAX_STACK_TRACE:]
