"""OTLP spans as the SDK's own type, which the rest of the pipeline uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final, cast

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from pandaprobe_otel.assembly.remote_parents import state_of
from pandaprobe_otel.gateway.refusals import MOST_ITEMS, NO_IDS, TOO_MANY_ITEMS, Allowance, Rejected
from pandaprobe_otel.mapping.sdk_span import bounded_attributes, bounded_list

Found = ReadableSpan | Rejected

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_KINDS: Final = {number: SpanKind(number - 1) for number in range(1, 6)}
_STATUS: Final = {1: StatusCode.OK, 2: StatusCode.ERROR}
_REMOTE: Final = 0x300
"""Flags for a parent in another process: SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK and IS_REMOTE_MASK of OTLP."""
_ITEM: Final = 4
"""Number of attributes that an event or link counts as."""
_DEEPEST: Final = 64
"""Deepest nesting. Protobuf's own limit is 100 messages, and a list or map takes two."""


class SpanReader:
    """Converter of messages to the SDK's spans, which subtracts their elements from an allowance."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance

    def resource(self, message: Any) -> Resource | Rejected:
        """Return the resource of spans, from a ResourceSpans without its scopes."""
        if isinstance(message, Rejected):
            return message
        return Resource(_named(self._attributes(message.resource.attributes)), message.schema_url)

    def scope(self, message: Any) -> InstrumentationScope | Rejected:
        """Return the scope of spans, from a ScopeSpans without its spans."""
        if isinstance(message, Rejected):
            return message
        scope = message.scope
        return InstrumentationScope(
            scope.name, scope.version, message.schema_url, _named(self._attributes(scope.attributes))
        )

    def spans(
        self,
        resource: Resource | Rejected,
        scope: InstrumentationScope | Rejected,
        read: Callable[[Any], Any],
        encoded: Iterable[Any],
    ) -> Iterator[Found]:
        """Yield each span of a scope, or the reason for its rejection. `read` makes its message, which is not kept."""
        if isinstance(resource, Rejected):
            return (resource for _ in encoded)
        if isinstance(scope, Rejected):
            return (scope for _ in encoded)
        return map(partial(self._span, resource=resource, scope=scope), map(read, encoded))

    def _span(self, span: Any, *, resource: Resource, scope: InstrumentationScope) -> Found:
        if isinstance(span, Rejected):
            return span
        trace_id, span_id = int.from_bytes(span.trace_id), int.from_bytes(span.span_id)
        if not (trace_id and span_id and len(span.trace_id) == 16 and len(span.span_id) == 8):
            return NO_IDS
        if max(len(span.attributes), len(span.events), len(span.links)) > MOST_ITEMS:
            return TOO_MANY_ITEMS
        parent_id = int.from_bytes(span.parent_span_id)
        start_ns = span.start_time_unix_nano or span.end_time_unix_nano
        self._allowance.left -= 1 + _ITEM * (len(span.events) + len(span.links))
        return ReadableSpan(
            name=span.name,
            context=SpanContext(trace_id, span_id, False, _SAMPLED),
            parent=_parent(trace_id, parent_id, span) if parent_id else None,
            resource=resource,
            instrumentation_scope=scope,
            kind=_KINDS.get(span.kind, SpanKind.INTERNAL),
            attributes=_counted(self._attributes(span.attributes), span.dropped_attributes_count),
            events=_counted_list(map(self._event, span.events), span.dropped_events_count),
            links=_counted_list(self._links(span.links), span.dropped_links_count),
            status=_status(span.status),
            start_time=start_ns,
            end_time=max(span.end_time_unix_nano, start_ns),
        )

    def _event(self, event: Any) -> Event:
        attributes = _counted(self._attributes(event.attributes), event.dropped_attributes_count)
        return Event(event.name, attributes, event.time_unix_nano)

    def _links(self, links: Iterable[Any]) -> Iterator[Link]:
        for link in links:
            context = SpanContext(int.from_bytes(link.trace_id[:16]), int.from_bytes(link.span_id[:8]), True, _SAMPLED)
            yield Link(context, self._attributes(link.attributes))

    def _attributes(self, pairs: Any) -> dict[str, Any]:
        self._allowance.left -= len(pairs)
        return {pair.key: self._value(pair.value, 0) for pair in pairs}

    def _value(self, value: Any, depth: int) -> Any:
        kind = value.WhichOneof("value")
        if kind is None:
            return None
        found = getattr(value, kind)
        if kind not in ("array_value", "kvlist_value"):
            return found
        if depth >= _DEEPEST:
            return None
        items = found.values
        self._allowance.left -= len(items)
        if kind == "array_value":
            return [self._value(item, depth + 1) for item in items]
        return {pair.key: self._value(pair.value, depth + 1) for pair in items}


def _named(value: Any) -> Any:
    """Return the value without nameless parts. The SDK would drop these too, but with one log line for each."""
    if isinstance(value, dict):
        return {name: _named(inner) for name, inner in cast("dict[str, Any]", value).items() if name}
    if isinstance(value, list | tuple):
        return [_named(inner) for inner in cast("list[Any]", value)]
    return value


def _counted(attributes: dict[str, Any], dropped: int) -> Any:
    return bounded_attributes(attributes, dropped) if dropped else attributes


def _counted_list(items: Iterable[Any], dropped: int) -> Any:
    return bounded_list((*items,), dropped) if dropped else [*items]


def _parent(trace_id: int, parent_id: int, span: Any) -> SpanContext:
    # A root has the trace state of its parent. Most SDKs copy it to the spans below, where it has no meaning.
    return SpanContext(trace_id, parent_id, span.flags & _REMOTE == _REMOTE, _SAMPLED, state_of(span.trace_state))


def _status(status: Any) -> Status:
    code = _STATUS.get(status.code, StatusCode.UNSET)
    return Status(code, status.message or None) if code is StatusCode.ERROR else Status(code)
