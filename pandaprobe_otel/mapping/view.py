"""A span as the mapping reads it: one frozen object with plain values, whatever the SDK handed over.

Attribute values differ between SDK versions and emitters (tuples, nested maps, enum members, bytes); they are made
uniform once, here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from math import isfinite
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from pandaprobe_otel.mapping.exact import type_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

_PLAIN: Final = frozenset({str, int, bool, type(None)})
_TEXT: Final = frozenset({str})
_SIMPLE: Final = frozenset({str, int, bool})
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
    shape: Any = field(default=None, init=False, compare=False, repr=False)
    """The shape of the attributes (`shape.py`) if it was known when the span was read; None says nothing."""


@dataclass(frozen=True, slots=True)
class LogView:
    """A log record that names the span it belongs to."""

    trace_id: int
    span_id: int
    event: EventView


KNOWN_SHAPES: Final[dict[tuple[Any, ...], Any]] = {}
"""Shapes that were seen before, by `shape_key`. `shape.py` fills it; it stands here since reading a span asks first."""


MAX_NAMES: Final = 256
"""Attributes of a view whose shape is remembered."""


def shape_key(attributes: Mapping[str, Any], events: bool) -> tuple[Any, ...]:
    """Return what views of one shape have in common: whether there are events, and names and types of attributes."""
    return (events, *attributes, *map(type_of, attributes), *map(type_of, attributes.values()))


def read_span(span: ReadableSpan) -> SpanView:
    """Return the view of a span, finished or still running. Reads the span once; no reference to it is kept."""
    try:
        return _read_fields(_fields(span))
    except (AttributeError, TypeError, ValueError):
        return _read_properties(span)


_fields: Final[Callable[[Any], tuple[Any, ...]]] = attrgetter(
    "_name",
    "_context",
    "_parent",
    "_start_time",
    "_end_time",
    "_status._status_code._name_",
    "_status._description",
    "_attributes._dict",
    "_attributes.dropped",
    "_events",
    "_links",
    "_instrumentation_scope._name",
    "_instrumentation_scope._version",
    "_resource._attributes",
    "_kind._name_",
)
"""The fields of the SDK's own span, in one call in C, named as they were since its version 1.0.

Its properties are calls in Python, and copy events, links and attributes: four times the cost (benchmarks/mapping).
What is built differently fails here, or in `_read_fields`, and is read through the interface.
"""


def _read_fields(fields: tuple[Any, ...]) -> SpanView:
    view: Any = _OpenView()
    (
        view.name, context, parent, start, end, view.status_code, view.status_description, attributes,
        view.dropped_attributes, events, links, view.scope_name, version, view.resource, view.otel_kind,
    ) = fields  # fmt: skip
    view.trace_id, view.span_id = context[:2]  # the tuple that it is; its properties are calls in Python as well
    if parent is None:
        view.parent_id, view.parent_is_remote = None, False
    else:
        view.parent_id, view.parent_is_remote = parent[1:3]
    view.start_ns, view.end_ns = start or 0, end or None
    # What is in the SDK's bounded lists, whose own length and iteration are calls in Python.
    events, links = getattr(events, "_dq", events), getattr(links, "_dq", links)
    view.events = tuple(map(_read_event, events)) if events else ()
    view.links = tuple(map(_read_link, links)) if links else ()
    view.scope_version = version or ""
    copied = attributes.copy()
    shape = None if events or len(copied) > MAX_NAMES else KNOWN_SHAPES.get(shape_key(copied, False))
    if shape is None or not _is_made_plain(copied, shape):
        shape, copied = None, _plain_items(copied)
    view.attributes, view.shape = copied, shape
    view.__class__ = SpanView
    return view  # type: ignore[no-any-return]


def _is_made_plain(attributes: dict[str, Any], shape: Any) -> bool:
    """Make the attributes of a known shape plain; whether they are, and still of that shape."""
    for name in shape.nested:
        attributes[name] = plain(attributes[name])
    return not shape.floats or isfinite(sum(shape.floats(attributes)))


class _OpenView:
    """A view before it is frozen: a frozen dataclass sets each of its fields through `object.__setattr__`."""

    __slots__ = SpanView.__slots__


def _read_properties(span: ReadableSpan) -> SpanView:
    context, parent = span.context, span.parent
    status, scope = span.status, span.instrumentation_scope
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
        tuple(map(_read_event, span.events)),
        tuple(map(_read_link, span.links)),
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
    if attributes is None:
        return {}
    copy = getattr(attributes, "copy", None)  # the SDK's own is one call in C; `dict` asks for every key
    copied: dict[str, Any] = dict(attributes) if copy is None else copy()
    return _plain_items(copied if type_of(copied) is dict else dict(copied))


def _plain_items(copied: dict[str, Any]) -> dict[str, Any]:
    """Make every item of the dict plain, in its place where that is possible."""
    if not _TEXT.issuperset(map(type_of, copied)):
        copied = {_plain_key(key): value for key, value in copied.items()}
    if _SIMPLE.issuperset(map(type_of, copied.values())):
        return copied
    for key, value in copied.items():
        kind = type_of(value)
        if kind is str or kind is int or kind is bool:
            continue
        if kind is not float:
            copied[key] = plain(value)
        elif value - value != 0.0:  # infinite or no number
            copied[key] = None
    return copied


def plain(value: Any, levels: int = _MAX_LEVELS) -> Any:
    """Return the value made of str, int, float, bool, None, bytes, list and dict; anything else becomes text."""
    kind = type_of(value)
    if kind in _PLAIN or kind is bytes:
        return value
    if kind is float:
        return value if isfinite(value) else None
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
    return {key if type_of(key) is str else _plain_key(key): plain(item, levels) for key, item in value.items()}


def _plain_key(key: Any) -> str:
    """A name as text: members of enums, which Agent Framework names attributes by, are not found by their text."""
    return str.__str__(key) if isinstance(key, str) else str(key)


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


def _read_link(link: Any) -> LinkView:
    return LinkView(link.context.trace_id, link.context.span_id)
