"""Bounds on a request's content, counted before objects are made: memory stays proportional to the bytes sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import ReadableSpan

from otlp_senders import agent_trace, as_json, body_of, delimited, fresh_peak_kb, post, request_of_span
from pandaprobe_otel.gateway import Gateway
from pandaprobe_otel.gateway.bounds import MOST_FRAMES, MOST_ITEMS, Allowance
from pandaprobe_otel.gateway.errors import RefusedError
from pandaprobe_otel.gateway.intake import Intake, Taken
from pandaprobe_otel.gateway.otlp_json import read_json
from pandaprobe_otel.gateway.otlp_protobuf import read_protobuf
from pandaprobe_otel.gateway.rejections import BEYOND, TOO_MANY_FIELDS, TOO_MANY_ITEMS, Rejected

IDS: Final = delimited(1, b"t" * 16) + delimited(2, b"s" * 8) + delimited(5, b"x")
JSON_IDS: Final = {"traceId": "1" * 32, "spanId": "2" * 16, "name": "x"}
FACTOR: Final = 8
"""Bytes of memory allowed for each byte of the body."""
BESIDE_KB: Final = 40_000
"""Memory allowed in addition for any body: the objects of one slice, and the largest span that is not counted."""


class Kept:
    """A receiver that accepts and counts all spans, and keeps none."""

    count = 0

    def receive(self, spans: list[ReadableSpan], deadline: float) -> bool:
        self.count += len(spans)
        return True

    def fill(self) -> float:
        return 0.0

    def is_choosing(self) -> bool:
        return False


def take(body: bytes, read: Any = read_protobuf) -> Taken:
    """Return the result of the gateway's intake for this body."""
    return Intake(Kept()).take(partial(read, body))


@contextmanager
def in_proportion(body: bytes) -> Iterator[None]:
    """Check that the `with` block takes no more memory than the body allows."""
    peak_kb = fresh_peak_kb()
    yield
    assert peak_kb() < BESIDE_KB + FACTOR * len(body) / 1024


@pytest.mark.parametrize("field", [9, 11, 13, 100], ids=["attributes", "events", "links", "unknown"])
def test_millions_of_empty_parts_of_a_span(field: int) -> None:
    """Three million attributes, events or links of two bytes each do not become objects."""
    empty = delimited(field, b"")
    body = request_of_span(IDS + empty * (6_000_000 // len(empty)))
    with in_proportion(body), pytest.raises(RefusedError, match="1 spans have more than 200000 fields") as caught:
        take(body)
    assert caught.value.http_status == 400


@pytest.mark.parametrize("levels", [0, 1, 2], ids=["resources", "scopes", "spans"])
def test_millions_of_empty_frames(levels: int) -> None:
    """Empty resources, scopes and spans do not become objects."""
    body = delimited(1 if levels == 0 else 2, b"") * 3_000_000
    for level in range(levels):
        body = delimited(1 if level == levels - 1 else 2, body)
    with (
        in_proportion(body),
        pytest.raises(RefusedError, match=f"more than {MOST_FRAMES} spans, scopes and resources") as caught,
    ):
        take(body)
    assert caught.value.http_status == 413


@pytest.mark.parametrize("path", [(5, 1), (6, 1, 2)], ids=["list", "map"])
def test_millions_of_elements_in_a_value(path: tuple[int, ...]) -> None:
    """Elements are counted at any depth, in lists of lists and in maps of maps."""
    value = delimited(path[0], delimited(1, b"") * 2_000_000)
    for field in reversed(path * 3):
        value = delimited(field, value)
    body = request_of_span(IDS + delimited(9, delimited(1, b"k") + delimited(2, value)))
    with in_proportion(body), pytest.raises(RefusedError, match="more than 200000 fields"):
        take(body)


def values(inner: bytes, before: bytes, after: bytes) -> bytes:
    """Return a body of 4 MB that repeats `inner` between `before` and `after`."""
    return before + (inner + b",") * (4_000_000 // (len(inner) + 1)) + inner + after


OF_A_SPAN: Final = (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"x":[', b"]}]}]}]}", 400, "1 spans have more")


@pytest.mark.parametrize(
    ("inner", "before", "after", "status", "why"),
    [
        (b"{}", b'{"x":[', b"]}", 413, "too many objects and values"),
        (b"{}", b'{"resourceSpans":[{"scopeSpans":[{"x":[', b'],"spans":[{}]}]}]}', 400, "1 spans have more"),
        (b"{}", *OF_A_SPAN),
        (b"[]", *OF_A_SPAN),
        (b'"ab"', *OF_A_SPAN),
    ],
    ids=["of the request", "of a scope", "objects", "lists", "texts"],
)
def test_millions_of_values_in_json(inner: bytes, before: bytes, after: bytes, status: int, why: str) -> None:
    """Values in JSON are counted before they are parsed."""
    body = values(inner, before, after)
    with in_proportion(body), pytest.raises(RefusedError, match=why) as caught:
        take(body, read_json)
    assert caught.value.http_status == status


@pytest.mark.parametrize(
    ("inner", "status", "why"), [(b"{}", 413, f"more than {MOST_FRAMES} spans"), (b"[]", 400, "not an object")]
)
def test_millions_of_frames_in_json(inner: bytes, status: int, why: str) -> None:
    """Spans in JSON are counted before they become objects."""
    body = values(inner, b'{"resourceSpans":[{"scopeSpans":[{"spans":[', b"]}]}]}")
    with in_proportion(body), pytest.raises(RefusedError, match=why) as caught:
        take(body, read_json)
    assert caught.value.http_status == status


def test_many_small_spans_in_json() -> None:
    """Thousands of spans are read one after the other, and those beyond the bound are rejected."""
    span = json.dumps({**JSON_IDS, "events": [{}] * 60}, separators=(",", ":")).encode()
    body = values(span, b'{"resourceSpans":[{"scopeSpans":[{"spans":[', b"]}]}]}")
    with in_proportion(body):
        taken = take(body, read_json)
    assert taken.accepted > 4_000
    assert taken.message == f"{taken.rejected} spans {BEYOND.reason}"


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({"x": ["ab"] * 400_000}, 1),
        ({"attributes": [{"key": "k", "value": {"arrayValue": {"values": [{"doubleValue": 1.5}] * 80_000}}}]}, 2),
        ({"attributes": [{"key": "k", "value": {"intValue": 1}}] * 4000}, 30),
    ],
    ids=["texts", "elements", "attributes"],
)
def test_as_many_values_in_json_as_may_be(fields: dict[str, Any], count: int) -> None:
    """The largest allowed numbers of short texts, list elements and small attributes are accepted."""
    spans = [{**JSON_IDS, **fields}] * count
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}, separators=(",", ":")).encode()
    with in_proportion(body):
        assert take(body, read_json) == Taken(len(spans), 0)


def test_marks_in_texts_are_no_values() -> None:
    """Quotes and brackets inside a text do not count as values: a message may contain JSON."""
    text = json.dumps([{"role": "user", "content": '"{[,'}]) * 150_000
    span = {**JSON_IDS, "attributes": [{"key": "k", "value": {"stringValue": text}}]}
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    with in_proportion(body):
        assert take(body, read_json) == Taken(1, 0)


@pytest.mark.parametrize(
    "text", [b'{"' + b'{,\\"' * 1_000_000, b'{"a":"' + b"{,[" * 1_000_000 + b"\\", b'{"' * 999_999]
)
def test_texts_without_an_end(text: bytes) -> None:
    """A text without its closing quote is refused, and each byte is read once."""
    with pytest.raises(RefusedError, match="in JSON"):
        take(text, read_json)


def test_the_largest_body_of_ordinary_spans() -> None:
    """A body of 8 MB of ordinary spans is accepted in either encoding, one slice after the other."""
    request = ExportTraceServiceRequest.FromString(body_of(agent_trace(20, text="x" * 500)))
    for _ in range(9):
        request.MergeFrom(request)
    for body, read in ((request.SerializeToString(), read_protobuf), (as_json(request), read_json)):
        assert len(body) > 8_000_000
        with in_proportion(body):
            assert take(body, read) == Taken(20 * 512, 0)


def request_with(*spans: bytes) -> bytes:
    """Return a request of a valid span and these spans."""
    return request_of_span(IDS) + b"".join(map(request_of_span, spans))


@pytest.mark.parametrize(
    ("span", "why"),
    [
        (IDS + delimited(5, b"\xff"), "cannot be read"),
        (IDS + b"\x4a\x05a", "cannot be read"),
        (IDS + delimited(9, b"") * (MOST_ITEMS + 1), TOO_MANY_ITEMS.reason),
        (IDS + delimited(11, b"") * (MOST_ITEMS + 1), TOO_MANY_ITEMS.reason),
        (IDS + delimited(13, b"") * (MOST_ITEMS + 1), TOO_MANY_ITEMS.reason),
        (IDS + delimited(9, b"") * 200_000, TOO_MANY_FIELDS.reason),
    ],
)
def test_others_of_the_request_are_taken(gateway: Gateway, span: bytes, why: str) -> None:
    """A span that is unreadable or too large is rejected, and the other spans of its request are accepted."""
    answer = post(gateway.url, request_with(span, IDS))
    assert answer.status_code == 200
    partial_success = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert partial_success.rejected_spans == 1
    assert f"1 spans {why}" in partial_success.error_message


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"startTimeUnixNano": "soon"}, "cannot be read"),
        ({"traceId": "xyz"}, "cannot be read"),
        ({"attributes": [1]}, "cannot be read"),
        ({"links": {}}, "cannot be read"),
        ({"spanId": ""}, "no valid trace id"),
        ({"attributes": [{"key": "k"}] * (MOST_ITEMS + 1)}, TOO_MANY_ITEMS.reason),
    ],
)
def test_others_of_the_request_are_taken_in_json(gateway: Gateway, fields: dict[str, Any], why: str) -> None:
    """In JSON, an unreadable or too large span is rejected, and the other spans of its request are accepted."""
    spans = [JSON_IDS, {**JSON_IDS, **fields}, JSON_IDS]
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()
    answer = post(gateway.url, body, {"Content-Type": "application/json"})
    assert answer.status_code == 200
    partial_success = answer.json()["partialSuccess"]
    assert partial_success["rejectedSpans"] == "1"
    assert why in partial_success["errorMessage"]


def test_nothing_is_taken_of_a_body_whose_frames_do_not_fit() -> None:
    """If the frames of a body do not end where the body ends, none of its spans is accepted, not even valid ones."""
    kept = Kept()
    for body in (request_with(IDS) + b"\x0a\x05a", request_with(IDS)[:-1], request_with(IDS) + b"\x0b"):
        with pytest.raises(RefusedError, match="not an ExportTraceServiceRequest"):
            Intake(kept).take(partial(read_protobuf, body))
    assert kept.count == 0


def test_a_request_ends_where_it_holds_too_much() -> None:
    """If the spans of a request exceed a bound only together, the first ones are accepted and the others rejected."""
    span = IDS + b"".join(delimited(9, delimited(1, b"%d" % number)) for number in range(4000))
    taken = take(request_of_span(span) * 260)
    assert 240 <= taken.accepted < 260
    assert taken.message == f"{taken.rejected} spans {BEYOND.reason}"


def test_a_resource_may_come_after_its_spans_and_in_pieces() -> None:
    """The pieces of a resource are merged wherever they are in the request, as Protobuf does."""
    name = delimited(1, delimited(1, b"service.name") + delimited(2, delimited(1, b"shop")))
    more = delimited(1, delimited(1, b"k") + delimited(2, delimited(1, b"v")))
    spans = delimited(2, delimited(2, IDS) + delimited(1, delimited(1, b"scope")))
    body = delimited(1, delimited(3, b"old") + spans + delimited(1, name) + delimited(3, b"new") + delimited(1, more))
    expected = ExportTraceServiceRequest.FromString(body).resource_spans[0]
    found = next(read_protobuf(body, Allowance()))
    assert not isinstance(found, Rejected)
    assert dict(found.resource.attributes) == {
        pair.key: pair.value.string_value for pair in expected.resource.attributes
    }
    assert (found.resource.schema_url, len(expected.resource.attributes)) == ("new", 2)
    assert found.instrumentation_scope is not None
    assert found.instrumentation_scope.name == "scope"


def test_senders_write_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """A nameless attribute is not logged; the SDK would log a line for each, at any depth."""
    empty = delimited(2, delimited(6, delimited(1, delimited(2, delimited(1, b"v")))))
    attributes = delimited(1, empty) + delimited(1, delimited(1, b"k") + empty)
    resource = delimited(1, attributes)
    scope = delimited(1, delimited(1, b"scope") + delimited(3, empty))
    body = delimited(1, resource + delimited(2, scope + delimited(2, IDS))) * 10
    assert take(body) == Taken(10, 0)
    assert caplog.records == []


def test_spans_of_a_resource_that_cannot_be_read() -> None:
    """The spans of an unreadable resource are rejected, since the resource names their service."""
    bad = delimited(1, delimited(1, b"\x0a\x05a") + delimited(2, delimited(2, IDS) * 3))
    taken = take(request_of_span(IDS) + bad)
    assert (taken.accepted, taken.rejected) == (1, 3)


def test_depth() -> None:
    """Protobuf's limit on depth applies to values of any size."""
    for filler in (b"", b"x" * 500_000):
        value = delimited(1, filler)
        for _ in range(40):
            value = delimited(5, delimited(1, value))
        deep = value
        for _ in range(60):
            deep = delimited(5, delimited(1, deep))
        spans = [IDS + delimited(9, delimited(1, b"k") + delimited(2, inner)) for inner in (value, deep)]
        taken = take(request_with(*spans))
        assert (taken.accepted, taken.rejected) == (2, 1)
