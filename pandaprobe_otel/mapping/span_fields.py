"""Fields of one span that need more than a row: its name, its model, its times, the rest of its metadata."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel.mapping.custom import custom_attributes
from pandaprobe_otel.mapping.exact import type_of
from pandaprobe_otel.mapping.kind_names import MODEL_KINDS
from pandaprobe_otel.mapping.mapped_span import MappedSpan
from pandaprobe_otel.mapping.status import last_exception
from pandaprobe_otel.mapping.text import short_text
from pandaprobe_otel.mapping.times import rfc3339

MAX_NAME: Final = 512
MAX_ID: Final = 255
MAX_LINKS: Final = 32
MAX_STACK_TRACE: Final = 4096


def name_of(span: MappedSpan) -> str:
    """Return the name: a tool's own, what an emitter shows instead of a template, or the span's."""
    name: Any = _told_name(span) if span.shape.tells_name else None
    if name is None:
        name = span.view.name
        if type_of(name) is not str:
            name = str(name or "span")
        if "function_id" in span.found:
            name = f"{span.found['function_id']}: {span.found.get('operation_id', name)}"
    name = name.strip()
    if len(name) <= MAX_NAME:
        return name or "span"
    span.metadata["full_name"] = name
    return short_text(name, MAX_NAME)


def _told_name(span: MappedSpan) -> Any:
    name = span.found.get("tool_name") if span.kind == "TOOL" else None
    return span.found.get("display_name") if name is None else name


def add_model(span: MappedSpan) -> None:
    """Set the model that was found as `model` where the server counts it, else in the metadata."""
    model = span.found["model"]
    metadata = span.metadata
    if span.kind not in MODEL_KINDS:
        metadata["model"] = model
    elif len(model) <= MAX_ID:
        span.body["model"] = model
    else:
        span.body["model"] = short_text(model, MAX_ID)
        metadata["full_model"] = model
    if metadata.get("request_model") == model:
        del metadata["request_model"]


def add_first_token(span: MappedSpan) -> None:
    """Set when the first token came, if that lies between start and end."""
    found, start, end = span.found, span.view.start_ns, span.view.end_ns
    first = found.get("first_token_ns")
    if first is None and "first_token_after" in found:
        first = start + found["first_token_after"]
    if first is None:
        first = found.get("first_token_event")
    if first is not None and start <= first and (end is None or first <= end):
        span.body["completion_start_time"] = rfc3339(first)


def add_own_metadata(span: MappedSpan) -> None:
    """Add to the metadata what the app itself has said."""
    metadata, found, custom = span.metadata, span.found, span.shape.custom
    if "metadata" in found:
        for key, value in found["metadata"].items():
            metadata.setdefault(key, value)
    if custom and (own := custom_attributes(custom, span.view.attributes)):
        metadata["attributes"] = own


def add_rare_metadata(span: MappedSpan) -> None:
    """Add to the metadata what few spans have: an error, another outcome, links, attributes that were dropped."""
    metadata, view = span.metadata, span.view
    if "outcome" in span.found:
        metadata["outcome"] = span.found["outcome"]
    if "error" in span.body or "outcome" in span.found:
        _add_error(span)
    if view.links:
        metadata["links"] = [
            {"trace_id": f"{link.trace_id:032x}", "span_id": f"{link.span_id:016x}"} for link in view.links[:MAX_LINKS]
        ]
    if view.dropped_attributes:
        metadata["dropped_attributes"] = view.dropped_attributes


def _add_error(span: MappedSpan) -> None:
    if "error_type" in span.found:
        span.metadata["error_type"] = span.found["error_type"]
    exception = last_exception(span.view)
    if exception is None:
        return
    for key, name in (("exception.type", "exception_type"), ("exception.stacktrace", "stack_trace")):
        value = exception.attributes.get(key)
        if type_of(value) is str and value:
            # The end of a stack trace is where it happened.
            span.metadata[name] = value[-MAX_STACK_TRACE:]
