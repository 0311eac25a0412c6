"""The verdict on each answer, as measured, and on absurd ones."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings

from hostile_answers import answers
from pandaprobe_otel.transport.outcome import LONGEST_S, SHORTEST_S, Answer, VerdictKind, judge

NOW = "Wed, 25 Nov 2026 10:00:00 GMT"
SOON = "Wed, 25 Nov 2026 10:00:30 GMT"
PAST = "Wed, 25 Nov 2026 09:00:00 GMT"


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
        (408, None, VerdictKind.UNKNOWN),
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


@pytest.mark.parametrize("body", [b"", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_judged_by_its_status(body: bytes) -> None:
    """A body that is not a JSON object is no problem; a page with status 200 is an unknown outcome."""
    assert judge(Answer(status=503, body=body)).kind is VerdictKind.UNAVAILABLE
    page = b"\n<!DOCTYPE html><html>Welcome to our hotel</html>"
    assert judge(Answer(status=200, body=page)).kind is VerdictKind.UNKNOWN


def test_a_page_is_shown_by_its_title_or_its_first_words() -> None:
    """The message for an HTML page is its title, or the beginning of its visible words."""
    page = b"<!DOCTYPE html>\n<html><style>b {}</style><title>502 Bad\n Gateway</title><body>" + b"x" * 9999
    untitled = b"<html><head><script>var a = 1;</script></head><body><h1>Service <b>unavailable</b></h1>" + b"x" * 9999
    message = judge(Answer(status=503, body=untitled)).message

    assert judge(Answer(status=502, body=page)).message == "502 Bad Gateway"
    assert message.startswith("503 Service unavailable x")
    assert len(message) <= 210


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        *(({"retry-after": value}, float(value)) for value in ("7", "1.5")),
        *(({"retry-after": value}, None) for value in (" 0 ", "-0", "0.4", "-1", "abc", "", "nan", "inf")),
        ({"retry-after": "1000000000"}, 600.0),
        ({"retry-after": SOON, "date": NOW}, 30.0),
        ({"retry-after": SOON}, None),  # without the server's own date: the local clock may be wrong
        *(({"retry-after": value, "date": NOW}, None) for value in (NOW, PAST)),
        ({}, None),
    ],
)
def test_seconds_until_the_next_try(headers: dict[str, str], expected: float | None) -> None:
    """Seconds, fractions and dates are read, up to ten minutes.

    Invalid values count as none, as do waits of less than a second, so that our own longer schedule is used.
    """
    for status in (408, 429, 500, 503):
        assert judge(Answer(status=status, headers=headers)).retry_after_s == expected


@settings(max_examples=400)
@given(answer=answers)
@example(
    answer=Answer(status=503, headers={"retry-after": "Mon, 27 Nov 2026 10:00:00 +99999999999999999999", "date": NOW})
)
def test_every_answer_has_a_verdict_that_can_be_waited_for_and_logged(answer: Answer) -> None:
    """A verdict's wait is absent or from a second to ten minutes, and its message is one line of printable text."""
    verdict = judge(answer)

    assert verdict.retry_after_s is None or SHORTEST_S <= verdict.retry_after_s <= LONGEST_S
    for text in (verdict.message, *(part for error in verdict.errors for part in (error.field, error.message))):
        assert len(text) <= 500
        assert text.isprintable()
        text.encode()
