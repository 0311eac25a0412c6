"""Retry-After in both forms, and the garbage that proxies send."""

from __future__ import annotations

import pytest

from pandaprobe_otel.transport import parse_retry_after

DATE = "Wed, 25 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("7", 7.0),
        ("1.5", 1.5),
        (" 0 ", 0.0),
        ("1000000000", 3600.0),
        ("Wed, 25 Nov 2026 10:00:30 GMT", 30.0),
        ("Wed, 25 Nov 2026 09:00:00 GMT", 0.0),
        ("-1", None),
        ("abc", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        (None, None),
    ],
)
def test_seconds_until_the_next_try(value: str | None, expected: float | None) -> None:
    """Seconds, fractions and dates are read, garbage is ignored, and an hour is the most."""
    assert parse_retry_after(value, DATE) == expected


def test_a_date_without_the_servers_own_date_is_ignored() -> None:
    """Our clock may be wrong, so a date alone says nothing."""
    assert parse_retry_after("Wed, 25 Nov 2026 10:00:30 GMT", None) is None
