"""What is kept of a span that has ended, so that the span itself can go.

A span of the SDK is a dozen objects (locks, bounded lists and what is in them). Thousands of them that wait for the
rest of their traces cost the app a tenth of its time in garbage collections (benchmarks/delivery/bench_cpu.py), and
take twice the memory of what they say.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final, TypeAlias, cast

from opentelemetry.sdk.trace import ReadableSpan

Fields: TypeAlias = tuple[Any, ...]
"""A span's context, and what `span_of` makes the span of."""

_NAMES: Final = (
    "_context",
    "_parent",
    "_name",
    "_kind",
    "_status",
    "_start_time",
    "_end_time",
    "_attributes",
    "_instrumentation_scope",
    "_resource",
)
# The SDK's properties copy events and links, under a lock each; one call for all fields is four times as fast.
_fields: Final[Callable[[Any], Fields]] = attrgetter(*_NAMES)
_lists: Final[Callable[[Any], tuple[Any, Any]]] = attrgetter("_events._dq", "_links._dq")
_BARE: Final = len(_NAMES)
"""Fields of a span without events and links."""


def fields_of(span: ReadableSpan) -> Fields:
    """Take what is needed of an ended span. Called by the app's threads."""
    try:
        events, links = _lists(span)
        if events or links:
            return (*_fields(span), tuple(events), tuple(links))
        return _fields(span)
    except AttributeError:  # not a span that this SDK made
        return (span.context, span)


def parent_of(fields: Fields) -> Any:
    """The context of the span's parent, None without one."""
    return fields[1].parent if len(fields) == 2 else fields[1]


def span_of(fields: Fields) -> ReadableSpan:
    """The span again, with its own attributes, which are not copied."""
    if len(fields) == 2:
        foreign: ReadableSpan = fields[1]
        return foreign
    # One by one: a quarter of the time of an update of `__dict__`, and no dict is made, which every garbage collection
    # of the app would visit until the trace is complete (benchmarks/delivery).
    span: Any = object.__new__(ReadableSpan)
    (
        span._context,
        span._parent,
        span._name,
        span._kind,
        span._status,
        span._start_time,
        span._end_time,
        span._attributes,
        span._instrumentation_scope,
        span._resource,
    ) = fields[:_BARE]
    span._events, span._links = fields[_BARE:] or ((), ())
    span._instrumentation_info = None
    return cast("ReadableSpan", span)
