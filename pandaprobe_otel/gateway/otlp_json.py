"""Requests in JSON, as OpenTelemetry's own messages.

OTLP's JSON is that of Protobuf except for ids, which are hexadecimal; unknown fields are ignored (specification 1.5,
"JSON Protobuf Encoding").
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from typing import Any, Final, cast

import orjson
from google.protobuf.json_format import ParseDict, ParseError
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from pandaprobe_otel.gateway.otlp_spans import Found, SpanReader
from pandaprobe_otel.gateway.refusals import (
    BEYOND,
    JSON_BYTES_A_VALUE,
    JSON_VALUES,
    MOST_FRAMES,
    UNREADABLE,
    Allowance,
    RefusedError,
    Rejected,
    too_many,
    unreadable,
)
from pandaprobe_otel.mapping.values import type_of

_WEIGHTS: Final = {b"{": 3, b"[": 1, b",": 1}
_NEXT: Final = re.compile(rb'(?:[^"{\[,]++|"(?:[^"\\]++|\\.)*+(?:"|\\?\Z))*+([{\[,]|\Z)', re.DOTALL)
"""Matches up to the next `{`, `[` or `,` outside a string. Nothing is tried twice, so the time per byte is constant."""
_IDS: Final = {"traceId": 16, "trace_id": 16, "spanId": 8, "span_id": 8, "parentSpanId": 8, "parent_span_id": 8}
"""Names of ids in either notation, and their sizes in bytes."""
# protobuf's own library raises SystemError for a text with a lone surrogate where a message belongs.
_MISFITS: Final = (ParseError, ValueError, TypeError, AttributeError, OverflowError, RecursionError, SystemError)


def read_json(body: bytes | bytearray, allowance: Allowance) -> Iterator[Found]:
    """Read a request span by span. Raises RefusedError before the first span if the body is malformed or too large."""
    _weigh(body)
    try:
        request = _parsed(body)
    except (ValueError, RecursionError) as error:
        raise _malformed(str(error)) from error
    left = MOST_FRAMES

    def inner(fields: Any, name: str, snake: str) -> list[Any]:
        """Take the list `name` out of an object, and count its items."""
        nonlocal left
        if type(fields) is not dict:
            raise _malformed(f"what should contain {name} is not an object")
        members = cast("dict[str, Any]", fields)
        if snake in members:
            raise _malformed(f"names must be in lowerCamelCase: {name}, not {snake}")
        given: Any = members.pop(name, None)
        if given is None:
            return []
        if type_of(given) is not list:
            raise _malformed(f"{name} is not a list")
        items: list[Any] = given
        left -= len(items)
        if left < 0:
            raise too_many(f"more than {MOST_FRAMES} spans, scopes and resources")
        return items

    resources = [
        (resource, [(scope, inner(scope, "spans", "_")) for scope in inner(resource, "scopeSpans", "scope_spans")])
        for resource in inner(request, "resourceSpans", "resource_spans")
    ]
    return _read(resources, allowance)


def _read(resources: list[tuple[Any, list[tuple[Any, list[Any]]]]], allowance: Allowance) -> Iterator[Found]:
    reader = SpanReader(allowance)

    def message(kind: Any, fields: Any) -> Any:
        """Return the message; `Rejected` if it is malformed."""
        if allowance.is_used_up:
            return BEYOND
        try:
            return _message(kind, fields)
        except _MISFITS as error:
            return Rejected(UNREADABLE, str(error))

    for outer, scopes in resources:
        resource = reader.resource(message(ResourceSpans, outer))
        for inner, spans in scopes:
            scope = reader.scope(message(ScopeSpans, inner))
            yield from reader.spans(resource, scope, lambda span: message(Span, span), _taken(spans))


def _parsed(body: bytes | bytearray) -> Any:
    try:
        return orjson.loads(body)
    except ValueError:
        # JavaScript writes half of a character that was cut, which orjson refuses. Then only its span is rejected.
        return json.loads(body)


def _taken(items: list[Any]) -> Iterator[Any]:
    """Yield the items and forget them, so that their memory is freed early."""
    for index, item in enumerate(items):
        items[index] = None
        yield item


def _weigh(body: bytes | bytearray) -> None:
    """Refuse a body that would become too many objects. Each value takes at most 90 bytes for its weight.

    Marks inside strings are excluded only if the total is too high, since finding them takes longer.
    """
    most = JSON_VALUES + len(body) // JSON_BYTES_A_VALUE
    if sum(body.count(mark) * weight for mark, weight in _WEIGHTS.items()) <= most:
        return
    at = total = 0
    while at < len(body):
        found = cast("re.Match[bytes]", _NEXT.match(body, at))
        at, total = found.end(), total + _WEIGHTS.get(found[1], 0)
        if total > most:
            raise too_many("too many objects and values in JSON")


def _malformed(why: str) -> RefusedError:
    return unreadable(f"the body is not an ExportTraceServiceRequest in JSON: {why}")


def _message(kind: Any, fields: Any) -> Any:
    """Return the message of this type with these fields. Raises an error of _MISFITS if they do not fit."""
    if type(fields) is not dict:
        raise TypeError(f"{str(fields)[:50]} is not an object")
    members = cast("dict[str, Any]", fields)
    if kind is Span:
        for place in (members, *(members.get("links") or ())):
            for name in place.keys() & _IDS.keys():
                place[name] = _in_base64(place[name], _IDS[name])
    return ParseDict(members, kind(), ignore_unknown_fields=True)


def _in_base64(given: Any, size: int) -> str | None:
    """Return an id as Protobuf's JSON has it."""
    if not given and (given is None or given == ""):
        return None
    if type(given) is not str or len(given) != 2 * size:
        raise ValueError(f"{str(given)[:50]!r} does not have {2 * size} hexadecimal digits")
    return b64encode(bytes.fromhex(given)).decode()
