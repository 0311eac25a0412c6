"""Refused requests that are fixed according to the server's error message."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from pandaprobe_otel.delivery.job import Attempt
from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest, Step
from pandaprobe_otel.delivery.repair import MARK, fit, repair
from pandaprobe_otel.errors import FieldError
from pandaprobe_otel.mapping.encoded_spans import EncodedSpans
from pandaprobe_otel.transport.request_outcome import Answer, Outcome
from simulated_delivery import SimulatedDelivery, accepted, create


def request(*spans: Mapping[str, object], step: Step = Step.CREATE, **fields: object) -> OutgoingRequest:
    """Return a request with these spans and trace fields."""
    trace = {"trace_id": create(1).trace_id, "name": "t", "started_at": "2026-01-01T00:00:00+00:00", **fields}
    encoded = tuple(json.dumps({"span_id": "s", "name": "n", "started_at": "x", **span}).encode() for span in spans)
    return replace(create(1), step=step, fields=json.dumps(trace).encode(), spans=EncodedSpans.of(encoded))


def test_an_optional_field_goes_and_is_named_in_the_metadata() -> None:
    """A refused optional field is removed and named in the metadata; the rest of the span stays."""
    mended = repair(
        request({"model": "m" * 300, "metadata": {"a": 1}}), [FieldError("spans -> 0 -> model", "too long")]
    )

    assert mended is not None
    (span,) = (json.loads(span) for span in mended.spans)
    assert "model" not in span
    assert span["metadata"] == {"a": 1, MARK: ["model"]}
    assert len(mended.spans) == 1


def test_a_name_is_cut_or_given() -> None:
    """A name that is too long is cut, and an empty name is replaced: the server requires 1 to 512 characters."""
    long = repair(request({"name": "x" * 600}), [FieldError("spans -> 0 -> name", "at most 512")])
    empty = repair(request({"name": ""}, step=Step.APPEND), [FieldError("0 -> name", "at least 1")])

    assert long is not None
    assert empty is not None
    assert json.loads(*long.spans)["name"] == "x" * 512
    assert json.loads(*empty.spans)["name"] == "unnamed"


def test_a_span_that_cannot_be_mended_goes_alone() -> None:
    """A span with a bad start time is removed, and the other spans stay."""
    mended = repair(request({}, {}, {}), [FieldError("spans -> 1 -> started_at", "bad")])

    assert mended is not None
    assert len(mended.spans) == 2


def test_a_field_of_the_trace_goes() -> None:
    """A session id of 300 characters is removed, and the trace stays."""
    mended = repair(request({}, session_id="s" * 300), [FieldError("session_id", "at most 255")])

    assert mended is not None
    fields = json.loads(mended.fields)
    assert "session_id" not in fields
    assert fields["metadata"] == {MARK: ["session_id"]}


@pytest.mark.parametrize("field", ["started_at", "trace_id", "9", "", "path"])
def test_a_message_without_a_field_cannot_be_mended(field: str) -> None:
    """A request is not repaired if the server's message names no field that can be removed."""
    assert repair(request({}), [FieldError(field, "JSON decode error" if field == "9" else "bad")]) is None


def test_one_bad_span_in_fifty_costs_one_extra_request() -> None:
    """The 49 other spans arrive, and so does the fixed span."""

    def server(attempt: Attempt, now: float) -> Outcome:
        for index, span in enumerate(attempt.job.request.spans):
            if "model" in json.loads(span):
                error = {"field": f"spans -> {index} -> model", "message": "at most 255 characters"}
                return Answer(status=422, body=json.dumps({"detail": "Validation error", "errors": [error]}).encode())
        return accepted(attempt, now)

    delivery = SimulatedDelivery(server)
    delivery.put(request(*({"model": "bad"} if number == 20 else {} for number in range(50))))
    delivery.run(5)

    counts = delivery.ledger.read()
    assert (counts.delivered, counts.pending, dict(counts.dropped)) == (50, 0, {})
    assert len(delivery.sent) == 2


def test_after_two_repairs_the_trace_is_given_up() -> None:
    """A trace is dropped after two repairs, even if the server names a new fault each time."""

    def server(attempt: Attempt, now: float) -> Outcome:
        field = ("session_id", "user_id", "release", "environment")[attempt.job.attempts - 1]
        body = {"detail": "Validation error", "errors": [{"field": field, "message": "no"}]}
        return Answer(status=422, body=json.dumps(body).encode())

    delivery = SimulatedDelivery(server)
    delivery.put(request({}))
    delivery.run(5)

    assert len(delivery.sent) == 3
    assert dict(delivery.ledger.read().dropped) == {"refused": 1}


def test_a_body_that_is_too_large_is_split_and_the_size_remembered() -> None:
    """After a 413 above 256 KB, everything arrives, and the next trace is split before it is sent."""

    def server(attempt: Attempt, now: float) -> Outcome:
        too_large = not attempt.is_check and len(attempt.job.request.body()) > 256_000
        return Answer(status=413) if too_large else accepted(attempt, now)

    delivery = SimulatedDelivery(server, max_bytes=64 << 20)
    delivery.put(request(*({"input": "x" * 20_000} for _ in range(40))))
    delivery.run(30)
    first = len(delivery.sent)
    delivery.put(replace(request(*({"input": "x" * 20_000} for _ in range(40))), trace_id=create(2).trace_id))
    delivery.run(30)

    assert delivery.ledger.read().delivered == 80
    assert delivery.count("POST", "/traces") <= 4 + 1
    assert len(delivery.sent) - first <= first


def test_one_huge_value_is_cut_with_a_mark() -> None:
    """One huge value is cut with a marker of its length, and the structure stays."""
    (piece,) = fit(request({"output": "y" * 500_000, "input": "short"}), 100_000)

    assert len(piece.body()) <= 100_000
    span = json.loads(*piece.spans)
    assert span["input"] == "short"
    assert "[cut 4" in span["output"]


def test_pieces_keep_every_span_in_order() -> None:
    """The pieces of a split request hold every span once and in order."""
    whole = request(*({"span_id": f"s{number}", "input": "x" * (number * 37 % 3000)} for number in range(300)))
    pieces = fit(whole, 65_536)

    assert [json.loads(span)["span_id"] for piece in pieces for span in piece.spans] == [f"s{n}" for n in range(300)]
    assert all(len(piece.body()) <= 65_536 for piece in pieces)
    assert [piece.step for piece in pieces] == [Step.CREATE] + [Step.APPEND] * (len(pieces) - 1)
