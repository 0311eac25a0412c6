"""Fields of an ended span that are kept, so that the span itself can be freed.

A span of the SDK consists of a dozen objects (locks, bounded lists and their contents). While they wait for the rest of
their traces, thousands of spans cost the app a tenth of its time in garbage collections
(benchmarks/delivery/bench_cpu.py) and take twice the memory of their content.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, TypeAlias, cast

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList

from pandaprobe_otel.mapping.text import cut_text

Fields: TypeAlias = tuple[Any, ...]
"""A span's context, and the values from which `span_of` rebuilds the span."""

_NAMES: Final = (
    "_context",
    "_parent",
    "_name",
    "_kind",
    "_status",
    "_start_time",
    "_end_time",
    "_attributes._dict",
    "_instrumentation_scope",
    "_resource",
    "_attributes.dropped",
)
# The SDK's properties copy events and links, each under a lock; one call for all fields is four times as fast.
_fields: Final[Callable[[Any], Fields]] = attrgetter(*_NAMES)
_lists: Final[Callable[[Any], tuple[Any, Any]]] = attrgetter("_events._dq", "_links._dq")
_dropped: Final[Callable[[Any], tuple[int, int]]] = attrgetter("_events.dropped", "_links.dropped")
_BARE: Final = len(_NAMES)
"""Number of fields of a span without events and links."""


def fields_of(span: ReadableSpan) -> Fields:
    """Return the needed fields of an ended span. Called by the app's threads."""
    try:
        events, links = _lists(span)
        if events or links:
            return (*_fields(span), tuple(events), tuple(links), *_dropped(span))
        return _fields(span)
    except AttributeError:  # not a span that this SDK made
        return (span.context, span)


_ATTRIBUTES: Final = _NAMES.index("_attributes._dict")
_LONG: Final = 1000


def text_size(fields: Fields) -> int:
    """Return the characters of text in a span's attributes and events. Called by the app's threads: reads no text."""
    if len(fields) == 2:
        return _text_in(fields[1].attributes)
    size = 0
    values: Any = fields[_ATTRIBUTES].values()
    for value in values:
        if value.__class__ is str:
            size += len(value)
    if len(fields) > _BARE:
        for event in fields[_BARE]:
            size += _text_in(event.attributes)
    return size


def _text_in(attributes: Mapping[str, Any] | None) -> int:
    return sum([len(value) for value in (attributes or {}).values() if isinstance(value, str)])


def cut_fields(fields: Fields, keep: int) -> Fields:
    """Return the fields with each long text cut to `keep` characters, plus a marker that states the cut."""
    if len(fields) == 2:
        return fields
    cut = list(fields)
    cut[_ATTRIBUTES] = _cut_attributes(fields[_ATTRIBUTES], keep)
    if len(fields) > _BARE:
        cut[_BARE] = tuple(
            Event(event.name, _cut_attributes(event.attributes, keep), event.timestamp) for event in fields[_BARE]
        )
    return tuple(cut)


def _cut_attributes(attributes: Mapping[str, Any] | None, keep: int) -> dict[str, Any]:
    return {
        name: cut_text(value, keep) if isinstance(value, str) and len(value) > max(keep, _LONG) else value
        for name, value in (attributes or {}).items()
    }


def parent_of(fields: Fields) -> Any:
    """Return the context of the span's parent, or None."""
    return fields[1].parent if len(fields) == 2 else fields[1]


def span_of(fields: Fields) -> ReadableSpan:
    """Rebuild the span with its own attributes, which are not copied."""
    if len(fields) == 2:
        foreign: ReadableSpan = fields[1]
        return foreign
    # Set one by one: takes a quarter of the time of a `__dict__` update, and creates no dict, which every garbage
    # collection of the app would visit until the trace is complete (benchmarks/delivery).
    span: Any = object.__new__(ReadableSpan)
    (
        span._context,
        span._parent,
        span._name,
        span._kind,
        span._status,
        span._start_time,
        span._end_time,
        attributes,
        span._instrumentation_scope,
        span._resource,
        dropped,
    ) = fields[:_BARE]
    span._attributes = attributes if not dropped else bounded_attributes(attributes, dropped)
    events, links, dropped_events, dropped_links = fields[_BARE:] or ((), (), 0, 0)
    span._events = events if not dropped_events else bounded_list(events, dropped_events)
    span._links = links if not dropped_links else bounded_list(links, dropped_links)
    span._instrumentation_info = None
    return cast("ReadableSpan", span)


def guarded(span: ReadableSpan) -> ReadableSpan:
    """Make the attributes read-only for app code, which must not change them, because other exporters share them."""
    attributes: Any = getattr(span, "_attributes", None)
    if type(span) is ReadableSpan and type(attributes) is dict:
        ours: Any = span
        ours._attributes = MappingProxyType(cast("dict[str, Any]", attributes))
    return span


def bounded_attributes(attributes: dict[str, Any], dropped: int) -> BoundedAttributes:
    """Return the attributes with the number of dropped ones."""
    bounded: Any = BoundedAttributes(immutable=True)
    bounded._dict, bounded.dropped = attributes, dropped  # set directly: the class would refuse nested values
    return cast("BoundedAttributes", bounded)


def bounded_list(items: Sequence[Any], dropped: int) -> BoundedList[Any]:
    """Return events or links with the number of dropped ones."""
    bounded: BoundedList[Any] = BoundedList(None)
    bounded.extend(items)
    bounded.dropped = dropped
    return bounded
