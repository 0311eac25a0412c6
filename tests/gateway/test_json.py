"""Spans read from JSON: they are those of Protobuf's `ParseDict`, in any notation."""

from __future__ import annotations

import base64
import json
import random
from typing import Any, Final

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan

from pandaprobe_otel.gateway.otlp_json import read_json
from pandaprobe_otel.gateway.otlp_protobuf import read_protobuf
from pandaprobe_otel.gateway.refusals import Allowance
from rings import IN_FULL

IDS: Final = {"traceId": 16, "spanId": 8, "parentSpanId": 8}


class Trees:
    """Random JSON objects for Protobuf messages, from a seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def message(self, descriptor: Any, depth: int = 0) -> dict[str, Any]:
        """Return an object with some of a message's fields, under their name in JSON or in Protobuf."""
        rng, tree = self.rng, dict[str, Any]()
        for field in descriptor.fields:
            if rng.random() < (0.9 if depth < 0 else 0.4 if depth < 5 else 0.15):
                name = field.name if rng.random() < 0.1 else field.json_name
                tree[name] = self._value(field, depth)
        if descriptor.name == "AnyValue" and len(tree) > 1:
            tree = dict([rng.choice(list(tree.items()))])
        return tree

    def _value(self, field: Any, depth: int) -> Any:
        if isinstance(field.default_value, list):
            return [self._single(field, depth) for _ in range(self.rng.randrange(3))]
        return self._single(field, depth)

    def _single(self, field: Any, depth: int) -> Any:
        rng, kind = self.rng, field.cpp_type
        if kind == FieldDescriptor.CPPTYPE_MESSAGE:
            return self.message(field.message_type, depth + 1)
        if field.json_name in IDS:
            return rng.randbytes(IDS[field.json_name]).hex()
        if kind == FieldDescriptor.CPPTYPE_STRING:
            return "YWI=" if field.type == FieldDescriptor.TYPE_BYTES else rng.choice(("text", "\u00e9", 'a"{[b', ""))
        if kind == FieldDescriptor.CPPTYPE_ENUM:
            return rng.choice((1, 2, field.enum_type.values[1].name))
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            return rng.random() < 0.5
        return rng.choice((7, "8", 9.0, 0))


def with_ids(fields: Any) -> Any:
    """Return a copy with ids in base64, as ParseDict reads them."""
    if isinstance(fields, list):
        return [with_ids(item) for item in fields]
    if not isinstance(fields, dict):
        return fields
    mended = {name: with_ids(value) for name, value in fields.items()}
    for name in (*IDS, "trace_id", "span_id", "parent_span_id"):
        value = mended.get(name)
        if value is None or value == "":
            continue
        mended[name] = base64.b64encode(bytes.fromhex(value)).decode()
    return mended


def written(value: Any, rng: random.Random) -> str:
    """Return the value as JSON, with members in any order and with random white space and escapes."""
    space = rng.choice(("", "", " ", "\n\t", "\r"))
    if isinstance(value, dict):
        members = [f"{space}{written(name, rng)}{space}:{space}{written(inner, rng)}" for name, inner in value.items()]
        rng.shuffle(members)
        return "{" + f"{space},".join(members) + space + "}"
    if isinstance(value, list):
        return "[" + f"{space},{space}".join(written(item, rng) for item in value) + space + "]"
    if isinstance(value, str) and value and rng.random() < 0.1:
        return f'"\\u{ord(value[0]):04x}{json.dumps(value[1:])[1:]}'
    return json.dumps(value, ensure_ascii=rng.random() < 0.5)


@pytest.mark.parametrize("seeds", [range(60), pytest.param(range(60, 20_000), marks=IN_FULL)], ids=["some", "all"])
def test_requests_are_split_as_they_are_parsed(seeds: range) -> None:
    """The spans of a request, however it is written, are those of ParseDict for the whole request."""
    count = 0
    for seed in seeds:
        trees = Trees(seed)
        tree = {"resourceSpans": trees.message(ExportTraceServiceRequest.DESCRIPTOR, -3).get("resourceSpans", [])}
        for resource in tree["resourceSpans"]:
            resource["scopeSpans"] = resource.pop("scope_spans", resource.get("scopeSpans", []))
        body = written(tree, trees.rng).encode()
        expected = ParseDict(with_ids(tree), ExportTraceServiceRequest(), ignore_unknown_fields=True)
        mine = list(read_json(body, Allowance()))
        assert texts(mine) == texts(list(read_protobuf(expected.SerializeToString(), Allowance()))), (seed, body)
        count += len(mine)
    assert count > len(seeds) / 4


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
