"""Values on the command line."""

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
    """ISO forms with their zone; a date alone is its midnight in UTC."""
    assert Moment().convert(text, None, None) == moment


@pytest.mark.parametrize(("text", "ago"), [("90s", 90), ("5m", 300), ("24h", 86_400), ("7d", 604_800), ("1w", 604_800)])
def test_how_long_ago(text: str, ago: int) -> None:
    """Seconds, minutes, hours, days and weeks before now."""
    assert datetime.now(UTC) - Moment().convert(text, None, None) - timedelta(seconds=ago) < timedelta(seconds=5)


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "2026-01-02T03:04:05", "24", "-1h", ""])
def test_what_is_no_moment(text: str) -> None:
    """Told, and never guessed: a time without a zone could be any."""
    with pytest.raises(click.BadParameter):
        Moment().convert(text, None, None)


def test_json(tmp_path: Path) -> None:
    """The text, or a file; what is no JSON can be a text where that is meant."""
    file = tmp_path / "v.json"
    file.write_text('{"a": [1]}', encoding="utf-8")

    assert Json().convert('{"a": 1}', None, None) == {"a": 1}
    assert Json().convert(f"@{file}", None, None) == {"a": [1]}
    assert JsonFile().convert(str(file), None, None) == {"a": [1]}
    assert Json(or_text=True).convert("just text", None, None) == "just text"
    assert Json(or_text=True).convert("7", None, None) == 7


@pytest.mark.parametrize("text", ["{", "just text", "@nope.json"])
def test_what_is_no_json(text: str) -> None:
    """With the reason."""
    with pytest.raises(click.BadParameter):
        Json().convert(text, None, None)


@pytest.mark.parametrize(("text", "threshold"), [("0.5", ("", 0.5)), ("a=0.7", ("a", 0.7)), ("a=b=1", ("a=b", 1.0))])
def test_thresholds(text: str, threshold: tuple[str, float]) -> None:
    """For all metrics, or for one."""
    assert Threshold().convert(text, None, None) == threshold


@pytest.mark.parametrize("text", ["", "a=", "1.5", "a=-1", "nan"])
def test_what_is_no_threshold(text: str) -> None:
    """Scores are between 0 and 1."""
    with pytest.raises(click.BadParameter):
        Threshold().convert(text, None, None)
