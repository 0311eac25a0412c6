"""Bodies of ExportTraceServiceRequest: binary and JSON, checked and read by the library of OpenTelemetry's schema."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import orjson
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from pandaprobe_otel.gateway.errors import RefusedError

_IDS: Final = {"traceId": 16, "spanId": 8, "parentSpanId": 8}


def read_protobuf(body: bytes) -> ExportTraceServiceRequest:
    """Read a binary body; RefusedError when it is none."""
    request = ExportTraceServiceRequest()
    try:
        request.ParseFromString(body)
    except (DecodeError, RecursionError) as error:
        raise RefusedError(f"the body is not an ExportTraceServiceRequest: {error}", http_status=400) from error
    return request


def read_json(body: bytes) -> ExportTraceServiceRequest:
    """Read a JSON body; RefusedError when it is none.

    OTLP's JSON is that of Protobuf but for ids, which are hexadecimal; unknown fields are ignored (specification
    1.5, "JSON Protobuf Encoding").
    """
    try:
        data: Any = orjson.loads(body)
        if not isinstance(data, dict):
            raise ParseError("it is not an object")
        fields = cast("dict[str, Any]", data)
        for holder in _with_ids(fields):
            _mend_ids(holder)
        request = ExportTraceServiceRequest()
        ParseDict(fields, request, ignore_unknown_fields=True)
    except (ValueError, ParseError, TypeError, AttributeError, RecursionError) as error:
        raise RefusedError(
            f"the body is not an ExportTraceServiceRequest in JSON: {str(error)[:300]}", http_status=400
        ) from error
    return request


def _with_ids(data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every span and every link of it."""
    for resource in _objects(data, "resourceSpans"):
        for scope in _objects(resource, "scopeSpans"):
            for span in _objects(scope, "spans"):
                yield span
                yield from _objects(span, "links")


def _objects(holder: Mapping[str, Any], name: str) -> Iterator[dict[str, Any]]:
    found: Any = holder.get(name) or ()
    if not isinstance(found, list | tuple):
        raise ParseError(f"{name} is not a list")
    for item in cast("list[Any]", found):
        if not isinstance(item, dict):
            raise ParseError(f"{name} holds something that is not an object")
        yield cast("dict[str, Any]", item)


def _mend_ids(holder: dict[str, Any]) -> None:
    for name, size in _IDS.items():
        value = holder.get(name)
        if not value:
            continue
        raw = bytes.fromhex(value)
        if len(raw) != size:
            raise ParseError(f"{name} is not {size * 2} hexadecimal digits")
        holder[name] = base64.b64encode(raw).decode("ascii")
