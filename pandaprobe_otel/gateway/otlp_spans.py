"""Spans of OTLP as the SDK's own type, which everything behind the gateway works on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from pandaprobe_otel.assembly.ended_span import bounded_attributes, bounded_list
from pandaprobe_otel.assembly.remote_parents import state_of

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_KINDS: Final = {number: SpanKind(number - 1) for number in range(1, 6)}
_STATUS: Final = {1: StatusCode.OK, 2: StatusCode.ERROR}
_REMOTE: Final = 0x300
"""The parent is known to be in another process: SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK and IS_REMOTE_MASK of OTLP."""
_DEEPEST: Final = 64
"""Protobuf itself ends at a depth of 100 messages, two for each list or map."""


def spans_of(request: ExportTraceServiceRequest) -> Iterator[ReadableSpan | None]:
    """Each span of a request in its order; None for one without valid ids, which OTLP rejects."""
    for resource_spans in request.resource_spans:
        resource = Resource(_attributes(resource_spans.resource.attributes), resource_spans.schema_url)
        for scope_spans in resource_spans.scope_spans:
            scope = InstrumentationScope(
                scope_spans.scope.name,
                scope_spans.scope.version,
                scope_spans.schema_url,
                _attributes(scope_spans.scope.attributes),
            )
            for span in scope_spans.spans:
                yield _span(span, resource, scope)


def _span(span: Any, resource: Resource, scope: InstrumentationScope) -> ReadableSpan | None:
    trace_id, span_id = int.from_bytes(span.trace_id), int.from_bytes(span.span_id)
    if not (trace_id and span_id and len(span.trace_id) == 16 and len(span.span_id) == 8):
        return None
    parent_id = int.from_bytes(span.parent_span_id)
    start_ns = span.start_time_unix_nano or span.end_time_unix_nano
    return ReadableSpan(
        name=span.name,
        context=SpanContext(trace_id, span_id, False, _SAMPLED),
        parent=_parent(trace_id, parent_id, span) if parent_id else None,
        resource=resource,
        instrumentation_scope=scope,
        kind=_KINDS.get(span.kind, SpanKind.INTERNAL),
        attributes=_counted(_attributes(span.attributes), span.dropped_attributes_count),
        events=_counted_list(map(_event, span.events), span.dropped_events_count),
        links=_counted_list(_links(span.links), span.dropped_links_count),
        status=_status(span.status),
        start_time=start_ns,
        end_time=max(span.end_time_unix_nano, start_ns),
    )


def _event(event: Any) -> Event:
    attributes = _counted(_attributes(event.attributes), event.dropped_attributes_count)
    return Event(event.name, attributes, event.time_unix_nano)


def _counted(attributes: dict[str, Any], dropped: int) -> Any:
    return bounded_attributes(attributes, dropped) if dropped else attributes


def _counted_list(items: Iterable[Any], dropped: int) -> Any:
    return bounded_list((*items,), dropped) if dropped else [*items]


def _parent(trace_id: int, parent_id: int, span: Any) -> SpanContext:
    # A root has the state of its parent; most SDKs give it to what is below as well, where it says nothing.
    return SpanContext(trace_id, parent_id, span.flags & _REMOTE == _REMOTE, _SAMPLED, state_of(span.trace_state))


def _status(status: Any) -> Status:
    code = _STATUS.get(status.code, StatusCode.UNSET)
    return Status(code, status.message or None) if code is StatusCode.ERROR else Status(code)


def _links(links: Iterable[Any]) -> Iterator[Link]:
    for link in links:
        context = SpanContext(int.from_bytes(link.trace_id[:16]), int.from_bytes(link.span_id[:8]), True, _SAMPLED)
        yield Link(context, _attributes(link.attributes))


def _attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    return {pair.key: _value(pair.value, 0) for pair in pairs}


def _value(value: Any, depth: int) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    read = _COMPOUND.get(kind)
    if read is None:
        return getattr(value, kind)
    return read(getattr(value, kind), depth + 1) if depth < _DEEPEST else None


_COMPOUND: Final[dict[str, Callable[[Any, int], Any]]] = {
    "array_value": lambda value, depth: [_value(item, depth) for item in value.values],
    "kvlist_value": lambda value, depth: {pair.key: _value(pair.value, depth) for pair in value.values},
}
