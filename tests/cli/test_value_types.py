"""Types of option values on the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest

from pandaprobe_otel.cli.value_types import Json, JsonFile, Moment, Threshold


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05+02:00", datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)),
        ("2026-01-02", datetime(2026, 1, 2, tzinfo=UTC)),
    ],
)
def test_moments(text: str, moment: datetime) -> None:
    """A moment is an ISO time with a zone, or a date, which means midnight in UTC."""
    assert Moment().convert(text, None, None) == moment


@pytest.mark.parametrize(("text", "ago"), [("90s", 90), ("5m", 300), ("24h", 86_400), ("7d", 604_800), ("1w", 604_800)])
def test_how_long_ago(text: str, ago: int) -> None:
    """A moment may be a number of seconds, minutes, hours, days or weeks before now."""
    assert datetime.now(UTC) - Moment().convert(text, None, None) - timedelta(seconds=ago) < timedelta(seconds=5)


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "2026-01-02T03:04:05", "24", "-1h", ""])
def test_a_time_without_a_zone_is_refused(text: str) -> None:
    """A time without a zone, or any other text, is refused instead of guessed."""
    with pytest.raises(click.BadParameter):
        Moment().convert(text, None, None)


def test_json(tmp_path: Path) -> None:
    """A JSON value is given directly or as a file; some options also accept plain text."""
    file = tmp_path / "v.json"
    file.write_text('{"a": [1]}', encoding="utf-8")

    assert Json().convert('{"a": 1}', None, None) == {"a": 1}
    assert Json().convert(f"@{file}", None, None) == {"a": [1]}
    assert JsonFile().convert(str(file), None, None) == {"a": [1]}
    assert Json(or_text=True).convert("just text", None, None) == "just text"
    assert Json(or_text=True).convert("7", None, None) == 7


@pytest.mark.parametrize("text", ["{", "just text", "@nope.json"])
def test_a_text_that_is_not_json_is_refused(text: str) -> None:
    """Text that is not JSON is refused."""
    with pytest.raises(click.BadParameter):
        Json().convert(text, None, None)


@pytest.mark.parametrize(("text", "threshold"), [("0.5", ("", 0.5)), ("a=0.7", ("a", 0.7)), ("a=b=1", ("a=b", 1.0))])
def test_thresholds(text: str, threshold: tuple[str, float]) -> None:
    """A threshold applies to all metrics or to the named one."""
    assert Threshold().convert(text, None, None) == threshold


@pytest.mark.parametrize("text", ["", "a=", "1.5", "a=-1", "nan"])
def test_a_threshold_outside_zero_to_one_is_refused(text: str) -> None:
    """A threshold outside 0 to 1, or one that is not a number, is refused."""
    with pytest.raises(click.BadParameter):
        Threshold().convert(text, None, None)
