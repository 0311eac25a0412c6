"""A span as the mapping reads it: one frozen object with plain values, whatever the SDK handed over.

Attribute values differ between SDK versions and emitters (tuples, nested maps, enum members, bytes); they are made
uniform once, here, and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from pandaprobe_otel.mapping.exact import type_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

_PLAIN: Final = frozenset({str, int, bool, type(None)})
_MAX_LEVELS: Final = 64


@dataclass(frozen=True, slots=True)
class EventView:
    """A span event, or a log record that belongs to the span (only those have a body)."""

    name: str
    time_ns: int | None
    attributes: Mapping[str, Any]
    body: Any = None


@dataclass(frozen=True, slots=True)
class LinkView:
    """A link to another span, by its OpenTelemetry ids."""

    trace_id: int
    span_id: int


@dataclass(frozen=True, slots=True)
class SpanView:
    """A span with plain values: text, numbers, booleans, None, bytes, lists and dicts of them.

    Times are nanoseconds since the epoch; `end_ns` is None while the span runs. `status_code` is UNSET, OK or
    ERROR, `otel_kind` the name of the OpenTelemetry span kind.
    """

    name: str
    trace_id: int
    span_id: int
    parent_id: int | None = None
    parent_is_remote: bool = False
    start_ns: int = 0
    end_ns: int | None = None
    status_code: str = "UNSET"
    status_description: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    events: tuple[EventView, ...] = ()
    links: tuple[LinkView, ...] = ()
    scope_name: str = ""
    scope_version: str = ""
    resource: Mapping[str, Any] = field(default_factory=dict[str, Any])
    otel_kind: str = "INTERNAL"
    dropped_attributes: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class LogView:
    """A log record that names the span it belongs to."""

    trace_id: int
    span_id: int
    event: EventView


def read_span(span: ReadableSpan) -> SpanView:
    """Return the view of a span, finished or still running. Reads the span once; no reference to it is kept."""
    context = span.context
    parent = span.parent
    status = span.status
    scope = span.instrumentation_scope
    events = span.events
    links = span.links
    return SpanView(
        span.name,
        context.trace_id if context is not None else 0,
        context.span_id if context is not None else 0,
        parent.span_id if parent is not None else None,
        parent.is_remote if parent is not None else False,
        span.start_time or 0,
        span.end_time or None,
        status.status_code.name,
        status.description,
        plain_attributes(span.attributes),
        tuple(_read_event(event) for event in events) if events else (),
        tuple(LinkView(link.context.trace_id, link.context.span_id) for link in links) if links else (),
        scope.name if scope is not None else "",
        (scope.version or "") if scope is not None else "",
        span.resource.attributes,
        span.kind.name,
        span.dropped_attributes,
    )


def read_log(record: Any) -> LogView | None:
    """Return the view of a log record, None if it belongs to no span.

    Takes what the logs SDK of any version hands to a processor or exporter (`LogData`, `ReadableLogRecord`,
    `ReadWriteLogRecord`) and the API's own `LogRecord`.
    """
    if isinstance(record, LogView):
        return record
    log = getattr(record, "log_record", record)
    trace_id, span_id = getattr(log, "trace_id", None), getattr(log, "span_id", None)
    if not trace_id or not span_id:
        return None
    attributes = plain_attributes(getattr(log, "attributes", None))
    # The name moved from an attribute to a field of its own; both are still emitted.
    name = getattr(log, "event_name", None) or attributes.get("event.name") or ""
    body = plain(getattr(log, "body", None))
    return LogView(trace_id, span_id, EventView(str(name), getattr(log, "timestamp", None), attributes, body))


def plain_attributes(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a copy of the attributes in which every value is plain."""
    if not attributes:
        return {}
    copy = getattr(attributes, "copy", None)  # the SDK's own is one call in C; `dict` asks for every key
    copied: dict[str, Any] = dict(attributes) if copy is None else copy()
    if type_of(copied) is not dict:
        copied = dict(copied)
    odd = [key for key, value in copied.items() if type_of(value) not in _PLAIN]
    for key in odd:
        copied[key] = plain(copied[key])
    return copied


def plain(value: Any, levels: int = _MAX_LEVELS) -> Any:
    """Return the value made of str, int, float, bool, None, bytes, list and dict; anything else becomes text."""
    kind = type_of(value)
    if kind in _PLAIN or kind is bytes:
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    if levels <= 0:
        return None
    if isinstance(value, Enum):
        return plain(value.value, levels - 1)
    if isinstance(value, Mapping):
        return _plain_mapping(value, levels - 1)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, Sequence):
        return _plain_list(value, levels - 1)
    return _plain_other(value)


def _plain_mapping(value: Any, levels: int) -> dict[str, Any]:
    return {key if type_of(key) is str else str(key): plain(item, levels) for key, item in value.items()}


def _plain_list(value: Any, levels: int) -> list[Any]:
    return [item if type_of(item) is str else plain(item, levels) for item in value]


def _plain_other(value: Any) -> Any:
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    return str(value)


def _read_event(event: Any) -> EventView:
    return EventView(event.name, event.timestamp, plain_attributes(event.attributes))
