"""Cron expressions and cadences."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pandaprobe_otel.local.evaluation.cadence import BadCadenceError, next_run, normalised
from pandaprobe_otel.local.evaluation.cron import BadCronError, Cron
from pandaprobe_otel.local.times import DAY, HOUR, micros_of


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("* * * * *", "2026-01-01T00:00:30", "2026-01-01T00:01:00"),
        ("*/15 * * * *", "2026-01-01T00:15:00", "2026-01-01T00:30:00"),
        ("5/20 * * * *", "2026-01-01T00:26:00", "2026-01-01T00:45:00"),
        ("0 3 * * 1", "2026-01-01T00:00:00", "2026-01-05T03:00:00"),
        ("0 0 * * sun", "2026-01-01T00:00:00", "2026-01-04T00:00:00"),
        ("0 0 * * 7", "2026-01-01T00:00:00", "2026-01-04T00:00:00"),
        ("30 8-10 * * mon-fri", "2026-01-02T10:30:00", "2026-01-05T08:30:00"),
        ("0 0 31 * *", "2026-01-31T00:00:00", "2026-03-31T00:00:00"),
        ("0 0 29 feb *", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 0 13 * fri", "2026-01-01T00:00:00", "2026-01-02T00:00:00"),
        ("0 0 1,15 * *", "2026-01-02T00:00:00", "2026-01-15T00:00:00"),
        ("59 23 31 12 *", "2026-12-31T23:59:00", "2027-12-31T23:59:00"),
        ("@daily", "2026-01-01T00:00:00", "2026-01-02T00:00:00"),
    ],
)
def test_the_next_time(expression: str, after: str, expected: str) -> None:
    """The next time is strictly after the given time and matches every field."""
    moment = datetime.fromisoformat(after).replace(tzinfo=UTC)
    assert Cron.parse(expression).after(moment) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "zz",
        "* * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "5-1 * * * *",
        "*/0 * * * *",
        "* * * * * *",
        "999 * * * *",
        "-1 * * * *",
        "mon * * * *",
        "1- * * * *",
        "- * * * *",
        "1,,2 * * * *",
    ],
)
def test_an_invalid_cron_expression_is_refused(expression: str) -> None:
    """Values out of range, wrong numbers of fields and incomplete parts are refused."""
    with pytest.raises(BadCronError):
        Cron.parse(expression)


def test_a_day_that_never_comes_is_refused() -> None:
    """30 February is refused when the monitor is created, not when it would be due."""
    with pytest.raises(BadCadenceError, match="Invalid cron expression"):
        normalised("cron:0 0 30 2 *")


def test_fixed_cadences_count_from_now() -> None:
    """Fixed cadences count from now; cron expressions are times of the clock."""
    now = micros_of(datetime(2026, 1, 1, 12, 30, tzinfo=UTC))
    assert next_run("every_6h", now) == now + 6 * HOUR
    assert next_run("daily", now) == now + DAY
    assert next_run("weekly", now) == now + 7 * DAY
    assert next_run(normalised("cron: 0 13 * * * "), now) == now + HOUR // 2
