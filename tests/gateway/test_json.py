"""Spans read from JSON: they are those of Protobuf, whatever they contain."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan

from pandaprobe_otel.gateway.otlp_json import read_json
from pandaprobe_otel.gateway.otlp_protobuf import read_protobuf
from pandaprobe_otel.gateway.refusals import Allowance

VALUES: Final[tuple[dict[str, Any], ...]] = (
    *({"string_value": text} for text in ("", 'a"{[b', "\u00e9\U0001f43c")),
    *({"int_value": number} for number in (0, -(2**63), 2**63 - 1)),
    *({"double_value": number} for number in (1.5, 1e300, float("inf"))),
    *({"bool_value": True}, {"bytes_value": b"\xff\0"}, {}),
    {"array_value": {"values": [{"int_value": 1}, {"array_value": {"values": [{"string_value": "x"}]}}]}},
    {"kvlist_value": {"values": [{"key": "k", "value": {"bool_value": False}}]}},
)
EMPTY: Final[Any] = [{}]


def request() -> ExportTraceServiceRequest:
    """Return a request with every field that is read, and with a span that has no id."""
    attributes = [{"key": f"k{number}", "value": value} for number, value in enumerate(VALUES)]
    ids = {"trace_id": b"t" * 16, "span_id": b"s" * 8}
    whole = {
        **ids,
        "name": "whole",
        "parent_span_id": b"p" * 8,
        "flags": 0x300,
        "trace_state": "pandaprobe=00000000000000ff",
        "kind": 3,
        "start_time_unix_nano": 2**63 + 1,
        "end_time_unix_nano": 2**63 + 7,
        "attributes": attributes,
        "dropped_attributes_count": 1,
        "dropped_events_count": 2,
        "dropped_links_count": 3,
        "status": {"code": 2, "message": "no"},
        "links": [{**ids, "attributes": attributes[:1]}],
        "events": [{"name": "e", "time_unix_nano": 5, "attributes": attributes[-1:], "dropped_attributes_count": 1}],
    }
    scope = {"name": "scope", "version": "1", "attributes": attributes[:1]}
    scopes = [{"scope": scope, "schema_url": "u", "spans": [whole, {**ids, "name": "bare"}, {"name": "no id"}]}, {}]
    resource: Any = {"resource": {"attributes": attributes[:2]}, "schema_url": "v", "scope_spans": scopes}
    return ExportTraceServiceRequest(resource_spans=[resource, *EMPTY])


def in_hex(message: Any) -> Any:
    """Return the tree with hexadecimal ids."""
    if isinstance(message, list):
        return [in_hex(item) for item in message]
    if not isinstance(message, dict):
        return message
    ids = {"traceId": b"t" * 16, "spanId": b"s" * 8, "parentSpanId": b"p" * 8}
    return {name: ids[name].hex() if name in ids else in_hex(value) for name, value in message.items()}


@pytest.mark.parametrize("as_integers", [False, True], ids=["names of enums", "numbers of enums"])
def test_spans_in_json_are_those_of_protobuf(as_integers: bool) -> None:
    """Every field has the same value, null and unknown fields are ignored, and a span without an id is rejected."""
    tree = in_hex(MessageToDict(request(), use_integers_for_enums=as_integers))
    tree["resourceSpans"][0]["scopeSpans"][0]["spans"][1] |= {"links": None, "new": {"a": [1]}, "parentSpanId": ""}
    body = json.dumps(tree, indent=1).encode()

    found = texts(list(read_json(body, Allowance())))
    assert len(found) == 3
    assert found == texts(list(read_protobuf(request().SerializeToString(), Allowance())))


def texts(spans: list[Any]) -> list[str]:
    """Return the spans as texts, in order."""
    return [repr(parts(span)) if isinstance(span, ReadableSpan) else span.reason for span in spans]


def parts(span: ReadableSpan) -> tuple[Any, ...]:
    """Return all parts of a span, including bytes, which its own JSON lacks."""
    scope = span.instrumentation_scope
    events = [(event.name, event.timestamp, dict(event.attributes or {})) for event in span.events]
    links = [(link.context, dict(link.attributes or {})) for link in span.links]
    times = span.start_time, span.end_time
    dropped = span.dropped_attributes, span.dropped_events, span.dropped_links
    return (
        *(span.name, span.context, span.parent, span.kind, times, span.status.status_code, span.status.description),
        *(dict(span.attributes or {}), events, links, dropped, dict(span.resource.attributes), scope),
    )
