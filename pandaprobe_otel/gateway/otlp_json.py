"""Requests in JSON: counted before they are parsed, then converted to OpenTelemetry's own messages span by span.

OTLP's JSON is that of Protobuf except for ids, which are hexadecimal; unknown fields are ignored (specification 1.5,
"JSON Protobuf Encoding").
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final, cast

import orjson
from google.protobuf.json_format import ParseDict, ParseError
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from pandaprobe_otel.gateway.bounds import JSON_BYTES_A_VALUE, JSON_VALUES, MOST_FRAMES, Allowance
from pandaprobe_otel.gateway.errors import RefusedError, too_many, unreadable
from pandaprobe_otel.gateway.otlp_spans import Found, SpanReader
from pandaprobe_otel.gateway.rejections import BEYOND, UNREADABLE, Rejected

_IDS: Final = {"traceId": 16, "spanId": 8, "parentSpanId": 8}
_WEIGHTS: Final = {b"{": 3, b"[": 1, b",": 1}
_NEXT: Final = re.compile(rb'(?:[^"{\[,]++|"(?:[^"\\]++|\\.)*+(?:"|\\?\Z))*+([{\[,]|\Z)', re.DOTALL)
"""Matches up to the next `{`, `[` or `,` outside a string. Nothing is tried twice, so each byte takes equal time."""


def read_json(body: bytes | bytearray, allowance: Allowance) -> Iterator[Found]:
    """Read a request span by span. Before the first one, raise RefusedError for a malformed or too large body."""
    _weigh(body)
    try:
        data: Any = orjson.loads(body)
        if not isinstance(data, dict):
            raise ParseError("it is not an object")
        if "resource_spans" in data:
            raise ParseError("names are in lowerCamelCase: resourceSpans, not resource_spans")
        resources = _resources(cast("dict[str, Any]", data))
    except (ValueError, ParseError, RecursionError) as error:
        raise unreadable(f"the body is not an ExportTraceServiceRequest in JSON: {str(error)[:300]}") from error
    return _read(resources, allowance)


def _weigh(body: bytes | bytearray) -> None:
    """Refuse a body that would become many objects.

    Marks inside strings are excluded only if the plain count is too high, since finding them takes longer.
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


def _resources(data: dict[str, Any]) -> list[tuple[dict[str, Any], list[tuple[dict[str, Any], list[dict[str, Any]]]]]]:
    """Return the resources with their scopes, and those with their spans, last span first."""
    resources = [
        (resource, [(scope, _objects(scope, "spans")) for scope in _objects(resource, "scopeSpans")])
        for resource in _objects(data, "resourceSpans")
    ]
    count = len(resources)
    for resource, scopes in resources:
        resource.pop("scopeSpans", None)
        count += len(scopes)
        for scope, spans in scopes:
            scope.pop("spans", None)
            spans.reverse()  # each is taken from the end, which frees its memory
            count += len(spans)
    if count > MOST_FRAMES:
        raise too_many(f"more than {MOST_FRAMES} spans, scopes and resources")
    return resources


def _read(resources: Any, allowance: Allowance) -> Iterator[Found]:
    reader = SpanReader(allowance)
    for resource_fields, scopes in resources:
        resource = reader.resource(_message(ResourceSpans, resource_fields, allowance))
        for scope_fields, spans in scopes:
            scope = reader.scope(_message(ScopeSpans, scope_fields, allowance))
            read = partial(_message, Span, allowance=allowance)
            yield from reader.spans(resource, scope, read, _taken_out(spans))


def _taken_out(spans: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    while spans:
        yield spans.pop()


def _message(kind: Any, fields: dict[str, Any], allowance: Allowance) -> Any:
    """Return the message with these fields; Rejected if they do not fit."""
    if allowance.is_used_up:
        return BEYOND
    try:
        if kind is Span:
            _mend_ids(fields)
            for link in _objects(fields, "links"):
                _mend_ids(link)
        return ParseDict(fields, kind(), ignore_unknown_fields=True)
    except (ValueError, ParseError, TypeError, AttributeError, RecursionError, RefusedError) as error:
        return Rejected(UNREADABLE, str(error))


def _objects(holder: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found: Any = holder.get(name) or []
    if not isinstance(found, list | tuple):
        raise ParseError(f"{name} is not a list")
    items = cast("list[Any]", found)
    if not all(isinstance(item, dict) for item in items):
        raise ParseError(f"{name} holds something that is not an object")
    return items


def _mend_ids(holder: dict[str, Any]) -> None:
    for name, size in _IDS.items():
        value = holder.get(name)
        if not value:
            continue
        raw = bytes.fromhex(value)
        if len(raw) != size:
            raise ParseError(f"{name} is not {size * 2} hexadecimal digits")
        holder[name] = base64.b64encode(raw).decode("ascii")
