"""Requests in Protobuf: split into resources, scopes and spans, then read with OpenTelemetry's own messages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from pandaprobe_otel.gateway.bounds import MOST_FIELDS, MOST_FRAMES, Allowance
from pandaprobe_otel.gateway.errors import OverBoundError, RefusedError, too_many
from pandaprobe_otel.gateway.otlp_spans import Found, SpanReader
from pandaprobe_otel.gateway.protobuf_frames import Buffer, Counter, parts
from pandaprobe_otel.gateway.rejections import BEYOND, TOO_MANY_FIELDS, UNREADABLE, Rejected

_UNCOUNTED: Final = 2 * MOST_FIELDS
"""Bytes of a message that cannot have too many fields, since the shortest field has two."""
_COUNTERS: Final = {kind: Counter(kind.DESCRIPTOR) for kind in (ResourceSpans, ScopeSpans, Span)}


@dataclass(slots=True)
class _Frame:
    """A resource or scope without its scopes or spans: its other bytes, and the scopes or span positions."""

    own: bytes
    inner: list[Any]


def read_protobuf(body: Buffer, allowance: Allowance) -> Iterator[Found]:
    """Read a request span by span. Raises RefusedError before the first span if the body is malformed or too large."""
    view = memoryview(body)
    return _read(_Splitter(view).request(), view, allowance)


class _Splitter:
    """Finder of the resources, scopes and spans in a request. It counts every field on the way."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._left = MOST_FRAMES

    def request(self) -> list[_Frame]:
        """Return the resources with their scopes, and the scopes with the start and end of each span."""
        frame = self._split(0, len(self._view), ExportTraceServiceRequest.RESOURCE_SPANS_FIELD_NUMBER)
        return [self._resource(start, end) for start, end in frame.inner]

    def _resource(self, start: int, end: int) -> _Frame:
        frame = self._split(start, end, ResourceSpans.SCOPE_SPANS_FIELD_NUMBER)
        frame.inner = [self._split(begun, ended, ScopeSpans.SPANS_FIELD_NUMBER) for begun, ended in frame.inner]
        return frame

    def _split(self, start: int, end: int, number: int) -> _Frame:
        own: list[memoryview] = []
        inner: list[tuple[int, int]] = []
        done = start
        for found, begun, ended in parts(self._view, start, end):
            self._left -= 1
            if self._left < 0:
                raise too_many(f"more than {MOST_FRAMES} spans, scopes and resources")
            if found == number and begun >= 0:
                inner.append((begun, ended))
            else:
                own.append(self._view[done:ended])
            done = ended
        return _Frame(b"".join(own), inner)


def _read(resources: list[_Frame], view: memoryview, allowance: Allowance) -> Iterator[Found]:
    reader = SpanReader(allowance)
    for outer in resources:
        resource = reader.resource(_message(ResourceSpans, outer.own, allowance))
        for frame in outer.inner:
            scope = reader.scope(_message(ScopeSpans, frame.own, allowance))
            encoded = (view[start:end] for start, end in frame.inner)
            yield from reader.spans(resource, scope, partial(_message, Span, allowance=allowance), encoded)


def _message(kind: Any, data: Buffer, allowance: Allowance) -> Any:
    """Return the message; `Rejected` if it is malformed or has too many fields."""
    if allowance.is_used_up:
        return BEYOND
    try:
        if len(data) > _UNCOUNTED:
            allowance.left -= _COUNTERS[kind].count(data, MOST_FIELDS)
        return kind.FromString(bytes(data))
    except OverBoundError:
        allowance.left -= MOST_FIELDS
        return TOO_MANY_FIELDS
    except (DecodeError, RecursionError, RefusedError) as error:
        return Rejected(UNREADABLE, str(error))
