"""Requests in Protobuf: split into resources, scopes and spans, then read with OpenTelemetry's own messages.

The library builds all parts of a message at once. The smallest part has two bytes in a body, but takes sixty bytes of
memory, or thirty-six in a list of bytes. So the parts that may be too many are counted first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from pandaprobe_otel.gateway.otlp_spans import Found, SpanReader
from pandaprobe_otel.gateway.refusals import (
    BEYOND,
    MOST_FIELDS,
    MOST_FRAMES,
    TOO_MANY_FIELDS,
    UNREADABLE,
    Allowance,
    RefusedError,
    Rejected,
    too_many,
    unreadable,
)

Buffer = bytes | bytearray | memoryview

_MALFORMED: Final = "the body is not an ExportTraceServiceRequest"
_LARGEST_TAG: Final = (1 << 32) - 1
_DEEPEST: Final = 100
"""Deepest nesting of messages, as in the library."""
_FIXED: Final = {1: 8, 5: 4}


def parts(data: Buffer, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of each field. The start is -1 if the field has a number instead of bytes.

    Raises RefusedError (400) for malformed frames.
    """
    at = start
    while at < end:
        tag, at = _varint(data, at, end)
        number, kind = tag >> 3, tag & 7
        if not number or tag > _LARGEST_TAG:
            raise unreadable(f"{_MALFORMED}: a field without a number")
        begun = -1
        if kind == 2:
            size, begun = _varint(data, at, end)
            at = begun + size
        elif kind == 0:
            _, at = _varint(data, at, end)
        elif kind in _FIXED:
            at += _FIXED[kind]
        else:
            raise unreadable(f"{_MALFORMED}: a field of wire type {kind}")
        if at > end:
            raise unreadable(f"{_MALFORMED}: it ends too early")
        yield number, begun, at


def _varint(data: Buffer, at: int, end: int) -> tuple[int, int]:
    """Return the number at this position, and its end."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise unreadable(f"{_MALFORMED}: a number that does not end")


def _count_fields(descriptor: Any, data: Buffer, most: int) -> int:
    """Return the number of fields of a message, including nested messages, or `most` if there are more.

    Raises RefusedError for malformed frames.
    """
    count = 0
    ways = [(parts(data, 0, len(data)), descriptor.fields_by_number)]
    while ways:
        way, fields = ways[-1]
        for number, start, end in way:
            count += 1
            if count >= most:
                return most
            inner = fields[number].message_type if start >= 0 and number in fields else None
            if inner is not None:
                if len(ways) >= _DEEPEST:
                    raise unreadable(f"{_MALFORMED}: it is nested too deeply")
                ways.append((parts(data, start, end), inner.fields_by_number))
                break
        else:
            ways.pop()
    return count


_UNCOUNTED: Final = 2 * MOST_FIELDS
"""Bytes of a message that cannot have too many fields, since the shortest field has two."""


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
            count = _count_fields(kind.DESCRIPTOR, data, MOST_FIELDS + 1)
            allowance.left -= count
            if count > MOST_FIELDS:
                return TOO_MANY_FIELDS
        return kind.FromString(bytes(data))
    except (DecodeError, RecursionError, RefusedError) as error:
        return Rejected(UNREADABLE, str(error))
