"""Points in time: whole microseconds since the epoch in the store, ISO 8601 with `+00:00` in answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE: Final = 60_000_000
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
_MICROSECOND = timedelta(microseconds=1)


def micros_of(moment: datetime) -> int:
    """Return a moment in microseconds since the epoch. A naive moment is taken as UTC, as on the server."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) // _MICROSECOND


def datetime_of(micros: int) -> datetime:
    """Return the UTC datetime of a stored moment."""
    return EPOCH + timedelta(microseconds=micros)


def iso(micros: int) -> str:
    """Return the text of a stored moment, such as `2026-01-02T03:04:05.678901+00:00` (microseconds only if any)."""
    return datetime_of(micros).isoformat()


def iso_or_none(micros: int | None) -> str | None:
    """Return `iso(micros)`, or None for None."""
    return None if micros is None else datetime_of(micros).isoformat()


def milliseconds(start: int, end: int | None) -> float | None:
    """Return the milliseconds from `start` to `end`, which may be negative; None if it has not ended."""
    return None if end is None else (end - start) / 1000


def now_micros() -> int:
    """Return the current moment."""
    return micros_of(datetime.now(UTC))
