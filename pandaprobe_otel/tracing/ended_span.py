"""What is kept of a span that has ended, so that the span itself can go.

A span of the SDK is a dozen objects (locks, bounded lists and what is in them). Thousands of them that wait for the
rest of their traces cost the app a tenth of its time in garbage collections (benchmarks/delivery/bench_app_cpu.py),
and take twice the memory of what they say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, cast

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link, SpanContext, SpanKind, Status

Fields: TypeAlias = tuple[Any, ...]
"""The fields of an `EndedSpan` in their order, as far as they are not empty at the end."""


class EndedSpan(NamedTuple):
    """Has those properties of a `ReadableSpan` that its readers use, and passes for one."""

    context: SpanContext | None
    parent: SpanContext | None
    name: str
    kind: SpanKind
    status: Status
    start_time: int | None
    end_time: int | None
    attributes: Mapping[str, Any] | None
    dropped_attributes: int
    instrumentation_scope: InstrumentationScope | None
    resource: Resource
    events: Sequence[Event] = ()
    links: Sequence[Link] = ()

    @classmethod
    def of(cls, fields: Fields) -> ReadableSpan:
        """Give the fields their names."""
        return cast("ReadableSpan", cls(*fields))


# The SDK's properties copy events and links, under a lock each; one call for all fields is four times as fast.
_fields: Final[Callable[[Any], Fields]] = attrgetter(
    "_context",
    "_parent",
    "_name",
    "_kind",
    "_status",
    "_start_time",
    "_end_time",
    "_attributes._dict",
    "_attributes.dropped",
    "_instrumentation_scope",
    "_resource",
)
_lists: Final[Callable[[Any], tuple[Any, Any]]] = attrgetter("_events._dq", "_links._dq")


def fields_of(span: ReadableSpan) -> Fields:
    """Take what is needed of an ended span. Called by the app's threads."""
    try:
        events, links = _lists(span)
        if events or links:
            return (*_fields(span), tuple(events), tuple(links))
        return _fields(span)
    except AttributeError:  # not a span that this SDK made
        return _fields_by_name(span)


def _fields_by_name(span: ReadableSpan) -> Fields:
    return (
        span.context,
        span.parent,
        span.name,
        span.kind,
        span.status,
        span.start_time,
        span.end_time,
        span.attributes,
        span.dropped_attributes,
        span.instrumentation_scope,
        span.resource,
        tuple(span.events),
        tuple(span.links),
    )


def as_readable(span: ReadableSpan) -> ReadableSpan:
    """The span as the SDK's own type, for code of the user's that is to see it."""
    from opentelemetry.sdk.trace import ReadableSpan

    if not isinstance(span, EndedSpan):
        return span
    fields = span._asdict()
    del fields["dropped_attributes"]
    return ReadableSpan(**fields)
