"""Retry-After in both forms, and the garbage that proxies send."""

from __future__ import annotations

import pytest

from pandaprobe_otel.transport.request_outcome import Answer
from pandaprobe_otel.transport.retry_after import parse_retry_after
from pandaprobe_otel.transport.verdict import judge

DATE = "Wed, 25 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("7", 7.0),
        ("1.5", 1.5),
        (" 0 ", None),
        ("1000000000", 600.0),
        ("Wed, 25 Nov 2026 10:00:30 GMT", 30.0),
        ("Wed, 25 Nov 2026 09:00:00 GMT", None),
        ("-1", None),
        ("abc", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        (None, None),
    ],
)
def test_seconds_until_the_next_try(value: str | None, expected: float | None) -> None:
    """Seconds, fractions and dates are read, invalid values and "now" are ignored, and ten minutes is the maximum."""
    assert parse_retry_after(value, DATE) == expected


def test_a_date_without_the_servers_own_date_is_ignored() -> None:
    """A date is ignored without the server's own date, since the local clock may be wrong."""
    assert parse_retry_after("Wed, 25 Nov 2026 10:00:30 GMT", None) is None


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"ratelimit": '"default";r=0;t=30'}, 30.0),
        ({"ratelimit-reset": "12"}, 12.0),
        ({"x-ratelimit-reset": "9"}, 9.0),
        ({"x-ratelimit-reset": "1795600845", "date": "Tue, 25 Nov 2026 10:00:00 GMT"}, 45.0),
        ({"retry-after": "3", "ratelimit-reset": "12"}, 3.0),
        ({"x-ratelimit-reset": "soon"}, None),
        ({}, None),
    ],
)
def test_rate_limit_headers_stand_in_for_retry_after(headers: dict[str, str], expected: float | None) -> None:
    """Other headers of rate limits are read if there is no Retry-After, for a 429 only."""
    assert judge(Answer(status=429, headers=headers)).retry_after_s == expected
    if "retry-after" not in headers:
        assert judge(Answer(status=503, headers=headers)).retry_after_s is None
