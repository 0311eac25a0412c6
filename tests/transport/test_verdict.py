"""The verdict on each answer, as measured."""

from __future__ import annotations

import json

import pytest

from pandaprobe_otel.errors import FieldError
from pandaprobe_otel.transport.request_outcome import Answer, NoAnswer
from pandaprobe_otel.transport.verdict import VerdictKind, judge


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (202, {"trace_id": "t"}, VerdictKind.DELIVERED),
        (201, {"span_ids": []}, VerdictKind.DELIVERED),
        (307, None, VerdictKind.REDIRECTED),
        (400, {"detail": "There was an error parsing the body"}, VerdictKind.INVALID),
        (401, {"detail": "Invalid or revoked API key."}, VerdictKind.AUTH),
        (402, {"detail": "Payment required"}, VerdictKind.QUOTA),
        (403, {"detail": "Forbidden"}, VerdictKind.AUTH),
        (404, {"detail": "Trace x not found."}, VerdictKind.NOT_FOUND),
        (405, {"detail": "Method Not Allowed"}, VerdictKind.AUTH),
        (407, None, VerdictKind.UNAVAILABLE),
        (408, None, VerdictKind.UNAVAILABLE),
        (413, None, VerdictKind.TOO_LARGE),
        (422, {"detail": "Validation error", "errors": [{"field": "name", "message": "m"}]}, VerdictKind.INVALID),
        (422, {"detail": "Project scope required. Provide X-Project-Name (API key)."}, VerdictKind.PROJECT),
        (429, {"error": "Rate limit exceeded: 100 per 1 minute"}, VerdictKind.RATE_LIMITED),
        (429, {"detail": "You've reached the traces limit (100)"}, VerdictKind.QUOTA),
        (429, "<html>busy</html>", VerdictKind.RATE_LIMITED),
        (500, "Internal Server Error", VerdictKind.UNAVAILABLE),
        (502, None, VerdictKind.UNKNOWN),
        (503, None, VerdictKind.UNAVAILABLE),
        (504, None, VerdictKind.UNKNOWN),
    ],
)
def test_status_and_body_decide(status: int, body: object, kind: VerdictKind) -> None:
    """Status and body determine the kind of verdict."""
    assert judge(Answer(status=status, body=json.dumps(body).encode())).kind is kind


def test_a_page_in_place_of_an_answer_is_an_unknown_outcome() -> None:
    """A page with status 200, such as a network's sign-in page, is an unknown outcome."""
    page = b"\n<!DOCTYPE html><html>Welcome to our hotel</html>"

    assert judge(Answer(status=200, body=page)).kind is VerdictKind.UNKNOWN


def test_the_servers_words_and_fields_are_kept() -> None:
    """The verdict on a refusal has the server's fields and messages."""
    errors = [{"field": "spans -> 1 -> name", "message": "String should have at least 1 character"}]
    verdict = judge(Answer(status=422, body=json.dumps({"detail": "Validation error", "errors": errors}).encode()))

    assert verdict.errors == (FieldError("spans -> 1 -> name", "String should have at least 1 character"),)
    assert verdict.message == "422 spans -> 1 -> name: String should have at least 1 character"


def test_whether_a_lost_request_may_have_arrived_decides() -> None:
    """A request without an answer has an unknown outcome only if the server may have read it."""
    assert judge(NoAnswer(reason="r", may_have_arrived=True)).kind is VerdictKind.UNKNOWN
    assert judge(NoAnswer(reason="r", may_have_arrived=False)).kind is VerdictKind.UNAVAILABLE


def test_a_body_that_is_no_json_object_is_no_problem() -> None:
    """A body that is not a JSON object is judged by its status."""
    for body in (b"", b"[1]", b"\xff\xfe", b"[" * 100_000):
        assert judge(Answer(status=503, body=body)).kind is VerdictKind.UNAVAILABLE
