"""Requests in JSON: split by frames, then parsed span by span into OpenTelemetry's own messages.

OTLP's JSON is that of Protobuf except for ids, which are hexadecimal; unknown fields are ignored (specification 1.5,
"JSON Protobuf Encoding").
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from pandaprobe_otel.gateway.bounds import Allowance
from pandaprobe_otel.gateway.errors import OverBoundError
from pandaprobe_otel.gateway.json_frames import Frame, JsonFrames
from pandaprobe_otel.gateway.json_messages import MISFITS, message_of
from pandaprobe_otel.gateway.json_values import parsed
from pandaprobe_otel.gateway.otlp_spans import Found, SpanReader
from pandaprobe_otel.gateway.rejections import BEYOND, TOO_MANY_VALUES, UNREADABLE, Rejected


def read_json(body: bytes | bytearray, allowance: Allowance) -> Iterator[Found]:
    """Read a request span by span. Raises RefusedError before the first span if the body is malformed or too large."""
    return _read(JsonFrames(body).request(), body, allowance)


def _read(resources: list[Frame], body: bytes | bytearray, allowance: Allowance) -> Iterator[Found]:
    reader = SpanReader(allowance)

    def message(kind: Any, text: bytes | bytearray, start: int, end: int) -> Any:
        """Return the message; `Rejected` if it is malformed or too large."""
        if allowance.is_used_up:
            return BEYOND
        try:
            return message_of(kind, parsed(text, start, end))
        except OverBoundError:
            return TOO_MANY_VALUES
        except MISFITS as error:
            return Rejected(UNREADABLE, str(error))

    def span(place: tuple[int, int]) -> Any:
        return message(Span, body, *place)

    for outer in resources:
        resource = reader.resource(message(ResourceSpans, outer.own, 0, len(outer.own)))
        for frame in outer.inner:
            scope = reader.scope(message(ScopeSpans, frame.own, 0, len(frame.own)))
            yield from reader.spans(resource, scope, span, frame.inner)
