"""Bounds on a request's content, counted before objects are made: memory stays proportional to the bytes sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from otlp_senders import agent_trace, as_json, body_of, delimited, fresh_peak_kb, post, request_of_span
from pandaprobe_otel.gateway import Gateway
from pandaprobe_otel.local import LocalServer

IDS: Final = delimited(1, b"t" * 16) + delimited(2, b"s" * 8) + delimited(5, b"x")
JSON_IDS: Final = {"traceId": "1" * 32, "spanId": "2" * 16, "name": "x"}
ITEMS: Final = 4096
"""Attributes, events or links that a span may have."""
FACTOR: Final = 8
"""Bytes of memory allowed for each byte of the body."""
IN_ADDITION_KB: Final = 40_000
"""Memory allowed in addition for any body: the objects of one slice, and the largest span that is not counted."""


class Answered:
    """The gateway's answer to a request."""

    def __init__(self, gateway: Gateway, body: bytes) -> None:
        is_json = body[:1] in b"{["
        answer = post(gateway.url, body, {"Content-Type": f"application/{'json' if is_json else 'x-protobuf'}"})
        self.status = answer.status_code
        self.rejected = 0
        if self.status != 200:
            self.message = answer.json()["message"] if is_json else Status.FromString(answer.content).message
        elif is_json:
            found = answer.json().get("partialSuccess", {})
            self.rejected, self.message = int(found.get("rejectedSpans", 0)), found.get("errorMessage", "")
        else:
            partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
            self.rejected, self.message = partial.rejected_spans, partial.error_message


@pytest.fixture(scope="module")
def large(shared_server: LocalServer) -> Iterator[Gateway]:
    """Yield a gateway that reads bodies of 20 MB."""
    with Gateway(endpoint=shared_server.url, api_key=shared_server.api_key, max_body=20_000_000) as running:
        yield running


@pytest.fixture
def accepted(large: Gateway, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the spans that the gateway accepts, which are not delivered."""
    spans: list[Any] = []

    def receive(found: list[Any], deadline: float) -> bool:
        spans.extend(span.name for span in found)
        return True

    monkeypatch.setattr(large.pipeline, "receive", receive)
    return spans


@contextmanager
def in_proportion(body: bytes, factor: int = FACTOR) -> Iterator[None]:
    """Check that the `with` block takes no more memory than the body allows."""
    peak_kb = fresh_peak_kb()
    yield
    assert peak_kb() < IN_ADDITION_KB + factor * len(body) / 1024


def empty_parts(field: int) -> bytes:
    """Return a span with millions of empty attributes, events, links or unknown fields."""
    empty = delimited(field, b"")
    return request_of_span(IDS + empty * (6_000_000 // len(empty)))


def empty_frames(levels: int) -> bytes:
    """Return millions of empty resources, scopes or spans."""
    body = delimited(1 if levels == 0 else 2, b"") * 3_000_000
    for level in range(levels):
        body = delimited(1 if level == levels - 1 else 2, body)
    return body


def elements(path: tuple[int, ...]) -> bytes:
    """Return a span with a value of millions of elements, at some depth."""
    value = delimited(path[0], delimited(1, b"") * 2_000_000)
    for field in reversed(path * 3):
        value = delimited(field, value)
    return request_of_span(IDS + delimited(9, delimited(1, b"k") + delimited(2, value)))


def repeated(inner: bytes, before: bytes, after: bytes) -> bytes:
    """Return a body of 4 MB that repeats `inner` between `before` and `after`."""
    return before + (inner + b",") * (4_000_000 // (len(inner) + 1)) + inner + after


SCOPES: Final = b'{"resourceSpans":[{"scopeSpans":[{'
SPANS: Final = (SCOPES + b'"spans":[', b"]}]}]}")
OF_A_SPAN: Final = (SCOPES + b'"spans":[{"x":[', b"]}]}]}]}")
FIELDS, FRAMES = (400, "1 spans have more than 200000 fields"), (413, "more than 100000 spans, scopes and resources")


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        *((lambda field=field: empty_parts(field), *FIELDS) for field in (9, 100)),
        *((lambda levels=levels: empty_frames(levels), *FRAMES) for levels in range(3)),
        *((lambda path=path: elements(path), *FIELDS) for path in ((5, 1), (6, 1, 2))),
        (lambda: repeated(b"{}", b'{"x":[', b"]}"), 413, "too many objects and values"),
        (lambda: repeated(b"{}", *OF_A_SPAN), 413, "too many objects and values"),
        (lambda: repeated(b'"abcdefghijkl"', *OF_A_SPAN), 400, "no span of the request can be accepted"),
        (lambda: repeated(b'{"x":"abcdefghijklmnopqrstuv"}', *SPANS), 413, "more than 100000 spans"),
    ],
    ids=range(11),
)
def test_millions_of_parts_do_not_become_objects(large: Gateway, body: Any, status: int, message: str) -> None:
    """Empty attributes, events, links, frames, elements and JSON values are counted before they are parsed."""
    sent = body()
    with in_proportion(sent):
        answer = Answered(large, sent)
    assert answer.status == status
    assert message in answer.message


def in_json(*spans: Any) -> bytes:
    """Return a request in JSON."""
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}, separators=(",", ":")).encode()


TEXT: Final = json.dumps([{"role": "user", "content": '"{[,'}]) * 150_000


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({"x": ["ab"] * 400_000}, 1),
        ({"attributes": [{"key": "k", "value": {"arrayValue": {"values": [{"doubleValue": 1.5}] * 80_000}}}]}, 2),
        ({"attributes": [{"key": "k", "value": {"stringValue": TEXT}}]}, 1),
    ],
    ids=["texts", "elements", "a text with JSON"],
)
def test_as_many_values_in_json_as_may_be(
    large: Gateway, accepted: list[Any], fields: dict[str, Any], count: int
) -> None:
    """The largest allowed numbers of values are accepted; marks within a text are no values."""
    body = in_json(*[{**JSON_IDS, **fields}] * count)
    with in_proportion(body):
        assert Answered(large, body).message == ""
    assert len(accepted) == count


def test_the_densest_json(large: Gateway, accepted: list[Any]) -> None:
    """As many objects as a body of JSON may have take at most twice the memory of an ordinary body."""
    body = in_json({**JSON_IDS, "x": [{"a": 1}] * 450_000, "y": "z" * 6_000_000})
    with in_proportion(body, 2 * FACTOR):
        assert Answered(large, body).message == ""
    with in_proportion(body, 2 * FACTOR):
        assert Answered(large, body.replace(b"z" * 3_000_000, b"")).status == 413
    assert accepted == ["x"]


def test_the_largest_body_of_ordinary_spans(large: Gateway, accepted: list[Any]) -> None:
    """A body of 8 MB of ordinary spans is accepted in either encoding, one slice after the other."""
    request = ExportTraceServiceRequest.FromString(body_of(agent_trace(20, text="x" * 500)))
    for _ in range(9):
        request.MergeFrom(request)
    for body in (request.SerializeToString(), as_json(request)):
        accepted.clear()
        assert len(body) > 8_000_000
        with in_proportion(body):
            assert Answered(large, body).message == ""
        assert len(accepted) == 20 * 512


def test_a_request_ends_where_it_holds_too_much(large: Gateway, accepted: list[Any]) -> None:
    """If the spans of a request exceed a bound only together, the first ones are accepted and the others rejected."""
    span = IDS + b"".join(delimited(9, delimited(1, b"%d" % number)) for number in range(4000))
    body = request_of_span(span) * 260
    with in_proportion(body):
        answer = Answered(large, body)
    assert 0 < answer.rejected < len(accepted) / 10
    reason = "exceed 1000000 attributes, events and elements in one request; send smaller batches"
    assert answer.message == f"{answer.rejected} spans {reason}"


def request_with(*spans: bytes) -> bytes:
    """Return a request of a valid span and these spans."""
    return request_of_span(IDS) + b"".join(map(request_of_span, spans))


def nested(depth: int, filler: bytes = b"") -> bytes:
    """Return a span with a value in this many nested lists."""
    value = delimited(1, filler)
    for _ in range(depth):
        value = delimited(5, delimited(1, value))
    return IDS + delimited(9, delimited(1, b"k") + delimited(2, value))


DEEP: Final = [
    json.loads('{"arrayValue":{"values":[' * levels + '{"intValue":1}' + "]}}" * levels) for levels in (48, 49)
]
TOO_MANY: Final = f"have more than {ITEMS} attributes, events or links"


@pytest.mark.parametrize(
    ("span", "reason"),
    [
        (IDS + delimited(5, b"\xff"), "cannot be read"),
        (IDS + b"\x4a\x05a", "cannot be read"),
        (delimited(1, b"short") + delimited(2, b"s" * 8), "have no valid trace id"),
        *((IDS + delimited(field, b"") * (ITEMS + 1), TOO_MANY) for field in (9, 11, 13)),
        (IDS + delimited(9, b"") * 200_000, "have more than 200000 fields"),
        *((nested(100, b"x" * size), "cannot be read") for size in (0, 300_000)),
        ({"startTimeUnixNano": "soon"}, "cannot be read"),
        ({"traceId": "xyz"}, "cannot be read"),
        ({"attributes": [1]}, "cannot be read"),
        ({"links": {}}, "cannot be read"),
        ({"name": "\ud800"}, "cannot be read"),
        ({"spanId": ""}, "no valid trace id"),
        ({"attributes": [{"key": "k"}] * (ITEMS + 1)}, TOO_MANY),
        ({"attributes": [{"key": "k", "value": DEEP[1]}]}, "cannot be read"),
    ],
)
def test_the_other_spans_of_the_request_are_accepted(
    large: Gateway, accepted: list[Any], span: bytes | dict[str, Any], reason: str
) -> None:
    """A span that is unreadable, too large or too deep is rejected, and the other spans of its request are accepted."""
    body = request_with(span, IDS) if isinstance(span, bytes) else in_json(JSON_IDS, {**JSON_IDS, **span}, JSON_IDS)
    answer = Answered(large, body)
    assert (answer.rejected, accepted) == (1, ["x", "x"])
    assert f"1 spans {reason}" in answer.message or reason in answer.message


def test_values_may_be_as_deep_as_protobuf_reads(large: Gateway, accepted: list[Any]) -> None:
    """Protobuf's limit on depth applies to values of any size, in both encodings."""
    for body in (
        *(request_with(nested(40, b"x" * size)) for size in (0, 500_000)),
        in_json({**JSON_IDS, "attributes": [{"key": "k", "value": DEEP[0]}]}),
    ):
        answer = Answered(large, body)
        assert (answer.status, answer.rejected) == (200, 0)
    assert len(accepted) == 5


def test_nothing_is_accepted_of_a_body_whose_frames_do_not_fit(large: Gateway, accepted: list[Any]) -> None:
    """If the frames of a body do not end where the body ends, none of its spans is accepted, not even valid ones."""
    for body in (request_with(IDS) + b"\x0a\x05a", request_with(IDS)[:-1], request_with(IDS) + b"\x0b"):
        assert "not an ExportTraceServiceRequest" in Answered(large, body).message
    assert accepted == []


def test_a_resource_may_come_after_its_spans_and_in_pieces(large: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pieces of a resource are merged wherever they are, as Protobuf does; of two JSON lists, the last counts."""
    name = delimited(1, delimited(1, b"service.name") + delimited(2, delimited(1, b"shop")))
    more = delimited(1, delimited(1, b"k") + delimited(2, delimited(1, b"v")))
    spans = delimited(2, delimited(2, IDS) + delimited(1, delimited(1, b"scope")))
    body = delimited(1, delimited(3, b"old") + spans + delimited(1, name) + delimited(3, b"new") + delimited(1, more))
    found: list[Any] = []

    def receive(spans: list[Any], deadline: float) -> bool:
        found.extend(spans)
        return True

    monkeypatch.setattr(large.pipeline, "receive", receive)
    assert Answered(large, body).message == ""
    (span,) = found
    assert dict(span.resource.attributes) == {"service.name": "shop", "k": "v"}
    assert (span.resource.schema_url, span.instrumentation_scope.name) == ("new", "scope")
    found.clear()
    lists = b",".join(b'"scopeSpans":[{"spans":[%s]}]' % json.dumps(one).encode() for one in ({}, JSON_IDS))
    assert Answered(large, b'{"resourceSpans":[{' + lists + b"}]}").message == ""
    assert [span.name for span in found] == ["x"]


def test_senders_write_no_log(large: Gateway, accepted: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    """A nameless attribute is not logged; the SDK would log a line for each, at any depth."""
    empty = delimited(2, delimited(6, delimited(1, delimited(2, delimited(1, b"v")))))
    resource = delimited(1, delimited(1, empty) + delimited(1, delimited(1, b"k") + empty))
    scope = delimited(1, delimited(1, b"scope") + delimited(3, empty))
    body = delimited(1, resource + delimited(2, scope + delimited(2, IDS))) * 10
    assert Answered(large, body).message == ""
    assert len(accepted) == 10
    assert [record for record in caplog.records if record.name.startswith(("opentelemetry", "pandaprobe"))] == []


def test_spans_of_a_resource_that_cannot_be_read(large: Gateway, accepted: list[Any]) -> None:
    """The spans of an unreadable resource are rejected, since the resource names their service."""
    bad = delimited(1, delimited(1, b"\x0a\x05a") + delimited(2, delimited(2, IDS) * 3))
    answer = Answered(large, request_of_span(IDS) + bad)
    assert (len(accepted), answer.rejected) == (1, 3)
