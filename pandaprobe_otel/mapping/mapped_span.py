"""Span while it is mapped, and its fields that need more than a table row: name, model, times, other metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pandaprobe_otel.mapping.content import without_vectors
from pandaprobe_otel.mapping.dialect_table import MODEL_KINDS
from pandaprobe_otel.mapping.kinds import kind_in
from pandaprobe_otel.mapping.outcomes import last_exception
from pandaprobe_otel.mapping.shapes import NOTHING, Shape, Source, known, read_few, read_others, shape_of
from pandaprobe_otel.mapping.span_view import SpanView
from pandaprobe_otel.mapping.text import short_text
from pandaprobe_otel.mapping.unread_attributes import shown
from pandaprobe_otel.mapping.values import decoded, is_absent, type_of
from pandaprobe_otel.process.guard import mistake


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
    taken: list[Source]
    """Sources of content that the body has whole; everything else in the sources is searched for what it lacks."""


def mapped_span(view: SpanView, kind: str | None = None) -> MappedSpan:
    """Start mapping a span. It replaces `__init__`, whose call takes twice as long (benchmarks/mapping)."""
    span = MappedSpan()
    shape: Shape = view.shape or shape_of(view)
    result = NOTHING
    if shape.few_values is not None:
        values = shape.few_values(view.attributes)
        key = shape, values, (*map(type_of, values),) if shape.few_numbers else ()
        try:
            result = known[key]
        except (KeyError, TypeError):  # not known yet; TypeError: one of the values is a list
            result = read_few(shape, view, key)
    told, found, metadata, span.parameters, unusable = result
    span.view, span.shape, span.metadata = view, shape, {**metadata}
    span.unusable, span.taken = [*unusable], []
    span.found = read_others(shape, view, found, span.unusable) if shape.fields or shape.merged else found
    span.kind = kind or told or kind_in(shape, view)
    span.usage = span.aggregated = span.cost = None
    return span


_NO_METADATA: Final[Mapping[str, Any]] = {}
MAX_NAME: Final = 512
MAX_ID: Final = 255
_SHOWN_NAMES: Final = ("display_name", "rendered_name")
"""Fields that emitters display instead of the span's name."""
_OTHER_NAMES: Final = ("tool_name", *_SHOWN_NAMES, "function_id")
MAX_LINKS: Final = 32
MAX_STACK_TRACE: Final = 4096


def name_of(span: MappedSpan) -> str:
    """Return the name: the tool's, else the one that the emitter displays instead of a template, else the span's."""
    found, own = span.found, span.view.name
    name: Any = found.get("tool_name") if span.kind == "TOOL" else None
    for field in _SHOWN_NAMES if name is None else ():
        name = found.get(field) if name is None else name
    if span.shape.tells_name:  # keep the other names, unless they repeat the chosen one
        if name is not None and name not in own and found.keys().isdisjoint(_SHOWN_NAMES):
            put(span, "span_name", own)
        for field in _OTHER_NAMES if name is not None else ("tool_name",):
            if field in found and found[field] not in f"{name} {own}":
                put(span, field, found[field])
    if name is None:
        name = own if type_of(own) is str else str(own or "span")
        if "function_id" in found:
            name = f"{found['function_id']}: {found.get('operation_id', name)}"
    name = name.strip()
    if len(name) <= MAX_NAME:
        return name or "span"
    put(span, "full_name", name)
    return short_text(name, MAX_NAME)


def add_model(span: MappedSpan) -> None:
    """Set the model as `model` if the server counts models for this kind, else in the metadata."""
    model = span.found["model"]
    metadata = span.metadata
    if span.kind not in MODEL_KINDS:
        put(span, "model", model)
    elif len(model) <= MAX_ID:
        span.body["model"] = model
    else:
        span.body["model"] = short_text(model, MAX_ID)
        put(span, "full_model", model)
    if metadata.get("request_model") == model:
        del metadata["request_model"]


def first_token_ns(span: MappedSpan) -> int | None:
    """Return the time of the first token, in nanoseconds since the epoch, if it lies between start and end."""
    found, start, end = span.found, span.view.start_ns, span.view.end_ns
    first: int | None = found.get("first_token_ns")
    if first is None and "first_token_after" in found:
        first = start + found["first_token_after"]
    if first is None:
        first = found.get("first_token_event")
    return first if first is not None and start <= first and (end is None or first <= end) else None


def add_own_metadata(span: MappedSpan) -> None:
    """Add the app's own metadata and attributes."""
    metadata = span.metadata
    for key, value in span.found.get("metadata", _NO_METADATA).items():
        if metadata.setdefault(key, value) != value:
            add_rest(span, {f"metadata.{key}": value})
    custom = span.shape.custom
    if custom:
        attributes = span.view.attributes
        rest = {key: shown(key, attributes[key]) for key in custom if not is_absent(attributes[key])}
        if span.kind == "EMBEDDING":  # Pydantic AI writes the vectors under a name of its own
            rest = {key: without_vectors(decoded(value)) for key, value in rest.items()}
        add_rest(span, rest)


def put(span: MappedSpan, key: str, value: Any) -> None:
    """Set a key of the metadata. If the app has set it to another value, that value moves to `attributes`."""
    metadata = span.metadata
    if key in metadata and metadata[key] != value:
        add_rest(span, {f"metadata.{key}": metadata[key]})
    metadata[key] = value


def add_rest(span: MappedSpan, rest: Mapping[str, Any]) -> None:
    """Add values without a field of their own to `attributes` in the metadata, by name."""
    if rest:
        known: Any = span.metadata.get("attributes")
        span.metadata["attributes"] = {**known, **rest} if type_of(known) is dict else dict(rest)


def add_rare_metadata(span: MappedSpan) -> None:
    """Add metadata that few spans have: an error, another outcome, links, numbers of dropped items."""
    view = span.view
    if "outcome" in span.found:
        put(span, "outcome", span.found["outcome"])
    if "error" in span.body or "outcome" in span.found:
        _add_error(span)
    if view.links:
        links = [
            {"trace_id": f"{link.trace_id:032x}", "span_id": f"{link.span_id:016x}"} for link in view.links[:MAX_LINKS]
        ]
        put(span, "links", links)
        if len(view.links) > MAX_LINKS:
            put(span, "left_out_links", len(view.links) - MAX_LINKS)
    if view.dropped is not None:
        for what, count in view.dropped.items():
            if count:
                put(span, f"dropped_{what}", count)
        if view.dropped.get("attributes"):
            mistake(
                "OpenTelemetry's SDK left out attributes of a span, perhaps messages or the model: it keeps 128. Set "
                "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=4096 before the app makes its TracerProvider."
            )


def _add_error(span: MappedSpan) -> None:
    if "error_type" in span.found:
        put(span, "error_type", span.found["error_type"])
    exception = last_exception(span.view)
    if exception is None:
        return
    for key, name in (("exception.type", "exception_type"), ("exception.stacktrace", "stack_trace")):
        value = exception.attributes.get(key)
        if type_of(value) is str and value:
            # Keep the end of a stack trace, which shows the place of the error.
            cut = len(value) - MAX_STACK_TRACE
            put(span, name, f"[cut {cut} of {len(value)} characters]…{value[cut:]}" if cut > 0 else value)
