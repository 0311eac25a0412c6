"""Span in the form that the mapping reads: one frozen object with plain values.

Attribute values differ between SDK versions and emitters (tuples, nested maps, enum members, bytes). Only this module
converts them, once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from math import isfinite
from typing import Any, Final

from pandaprobe_otel.mapping.values import type_of

_PLAIN: Final = frozenset({str, int, bool, type(None)})
_TEXT: Final = frozenset({str})
_SIMPLE: Final = frozenset({str, int, bool})
_MAX_LEVELS: Final = 64
TOO_DEEP: Final = f"…[cut: nested deeper than {_MAX_LEVELS} levels]"
"""Replacement of the parts of a value that are nested too deeply for its readers."""


@dataclass(frozen=True, slots=True)
class EventView:
    """Span event, or a log record of the span (only log records have a body)."""

    name: str
    time_ns: int | None
    attributes: Mapping[str, Any]
    body: Any = None


@dataclass(frozen=True, slots=True)
class LinkView:
    """Link to another span, by its OpenTelemetry ids."""

    trace_id: int
    span_id: int


@dataclass(frozen=True, slots=True)
class SpanView:
    """Span with plain values: text, numbers, booleans, None, bytes, lists and dicts of them.

    Times are nanoseconds since the epoch; `end_ns` is None while the span runs. `status_code` is UNSET, OK or ERROR,
    and `otel_kind` is the name of the OpenTelemetry span kind.
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
    dropped: Mapping[str, int] | None = field(default=None, compare=False)
    """Numbers of attributes, events and links that the SDK dropped for lack of room; None if nothing was dropped."""
    shape: Any = field(default=None, init=False, compare=False, repr=False)
    """Shape of the attributes, from the first use of it (`shapes.shape_of`)."""


@dataclass(frozen=True, slots=True)
class LogView:
    """Log record with the ids of its span."""

    trace_id: int
    span_id: int
    event: EventView


KNOWN_SHAPES: Final[dict[tuple[str, ...], Any]] = {}
"""Shapes that were seen before, by the names of the attributes.

`shapes.py` fills it. It is defined here, because reading a span looks it up first: known names are plain text.
"""


def read_log(record: Any) -> LogView | None:
    """Return the view of a log record; None if it belongs to no span.

    Accepts the records that any version of the logs SDK passes to a processor or exporter (`LogData`,
    `ReadableLogRecord`, `ReadWriteLogRecord`) and the API's own `LogRecord`.
    """
    if isinstance(record, LogView):
        return record
    log = getattr(record, "log_record", record)
    trace_id, span_id = getattr(log, "trace_id", None), getattr(log, "span_id", None)
    if not trace_id or not span_id:
        return None
    attributes = _attributes_of(getattr(log, "attributes", None))
    # The name moved from an attribute to a field; both are still emitted.
    name = getattr(log, "event_name", None) or attributes.get("event.name") or ""
    body = plain(getattr(log, "body", None))
    return LogView(trace_id, span_id, EventView(str(name), getattr(log, "timestamp", None), attributes, body))


def plain_attributes(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a copy of the attributes in which every value is plain."""
    if attributes is None:
        return {}
    copy = getattr(attributes, "copy", None)  # the SDK's `copy` is one call in C, but `dict` looks up every key
    copied: dict[str, Any] = dict(attributes) if copy is None else copy()
    return plain_items(copied if type_of(copied) is dict else dict(copied))


def plain_items(copied: dict[str, Any], *, are_names_plain: bool = False) -> dict[str, Any]:
    """Make every item of the dict plain, in place if possible."""
    if not are_names_plain and not _TEXT.issuperset(map(type_of, copied)):
        copied = {_plain_key(key): value for key, value in copied.items()}
    if _SIMPLE.issuperset(map(type_of, copied.values())):
        return copied
    for key, value in copied.items():
        kind = type_of(value)
        if kind not in _SIMPLE and (kind is not float or not isfinite(value)):
            copied[key] = plain(value)
    return copied


def plain(value: Any, levels: int = _MAX_LEVELS) -> Any:
    """Return the value as str, int, float, bool, None, bytes, list and dict; anything else becomes text."""
    kind = type_of(value)
    if kind in _PLAIN or kind is bytes:
        return value
    if kind is float:
        return value if isfinite(value) else None
    if levels <= 0:
        return TOO_DEEP
    if isinstance(value, Enum):
        return plain(value.value, levels - 1)
    inside: Any = value  # of any type, so that type checkers do not ask what it contains
    if isinstance(value, Mapping):
        return {_plain_key(key): plain(item, levels - 1) for key, item in inside.items()}
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, Sequence):
        return [item if type_of(item) is str else plain(item, levels - 1) for item in inside]
    if isinstance(value, int):
        return int.__int__(value)
    return float.__float__(value) if isinstance(value, float) else str(value)


def _plain_key(key: Any) -> str:
    """Return a name as plain text: an enum member, which Agent Framework uses as a name, is not found by its text."""
    return str.__str__(key) if isinstance(key, str) else str(key)


def read_event(event: Any) -> EventView:
    """Return the view of an event."""
    return EventView(event.name, event.timestamp, _attributes_of(event.attributes))


def _attributes_of(attributes: Any) -> dict[str, Any]:
    """Return the attributes of an event or a log record, with a marker for those that the SDK has dropped."""
    told = plain_attributes(attributes)
    dropped = getattr(attributes, "dropped", 0)
    if dropped:
        told["…"] = f"[cut {dropped} of {len(told) + dropped} keys]"
    return told


def read_link(link: Any) -> LinkView:
    """Return the view of a link."""
    return LinkView(link.context.trace_id, link.context.span_id)
