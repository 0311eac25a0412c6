"""Verdicts on absurd answers: never an exception, a long wait, or text that a log cannot hold."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings

from hostile_answers import answers
from pandaprobe_otel.transport.request_outcome import Answer
from pandaprobe_otel.transport.retry_after import LONGEST_S, SHORTEST_S
from pandaprobe_otel.transport.verdict import judge

DATE = "Fri, 27 Nov 2026 10:00:00 GMT"


@settings(max_examples=400)
@given(answer=answers)
@example(
    answer=Answer(status=503, headers={"retry-after": "Mon, 27 Nov 2026 10:00:00 +99999999999999999999", "date": DATE})
)
@example(answer=Answer(status=429, headers={"x-ratelimit-reset": "1e300", "date": "Mon, 1 Jan 0001 00:00:00 +2300"}))
def test_every_answer_has_a_verdict_that_can_be_waited_for_and_logged(answer: Answer) -> None:
    """A verdict's wait is absent or from a second to ten minutes, and its message is one line of printable text."""
    verdict = judge(answer)

    assert verdict.retry_after_s is None or SHORTEST_S <= verdict.retry_after_s <= LONGEST_S
    for text in (verdict.message, *(part for error in verdict.errors for part in (error.field, error.message))):
        assert len(text) <= 500
        assert text.isprintable()
        text.encode()


def test_a_page_is_told_by_its_title() -> None:
    """The message for an HTML page is its title."""
    page = b"<!DOCTYPE html>\n<html><style>b {}</style><title>502 Bad\n Gateway</title><body>" + b"x" * 9999

    assert judge(Answer(status=502, body=page)).message == "502 Bad Gateway"


def test_a_page_without_a_title_is_told_by_its_first_words() -> None:
    """The message for a page without a title is its first visible words."""
    page = b"<html><head><script>var a = 1;</script></head><body><h1>Service <b>unavailable</b></h1>" + b"x" * 9999

    assert judge(Answer(status=503, body=page)).message.startswith("503 Service unavailable x")
    assert len(judge(Answer(status=503, body=page)).message) <= 210


@pytest.mark.parametrize("status", [408, 429, 500, 503])
@pytest.mark.parametrize("value", ["0", "-0", "0.4", "Fri, 27 Nov 2026 10:00:00 GMT", "Fri, 27 Nov 2020 10:00:00 GMT"])
def test_a_wait_of_nothing_is_no_wait_that_the_server_names(status: int, value: str) -> None:
    """A wait of less than a second counts as none, so that our own longer schedule is used."""
    assert judge(Answer(status=status, headers={"retry-after": value, "date": DATE})).retry_after_s is None
