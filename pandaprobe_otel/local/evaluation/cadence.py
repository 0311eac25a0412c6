"""The cadences of monitors: fixed ones, and cron expressions.

The five fields are minute, hour, day of month, month, day of week.

Each field accepts `*`, numbers, names of months and weekdays, ranges, lists and steps. Both 0 and 7 are Sunday. If both
day fields are restricted, one of them must match, as in other crons. Times are UTC.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pandaprobe_otel.local.times import DAY, HOUR, datetime_of, micros_of

_FIXED: Final[Mapping[str, int]] = {"every_6h": 6 * HOUR, "daily": DAY, "weekly": 7 * DAY}
_CRON: Final = "cron:"
# The server prints its enumeration here, and clients may match the text.
_CHOICES: Final = (
    "[<MonitorCadence.EVERY_6H: 'every_6h'>, <MonitorCadence.DAILY: 'daily'>, <MonitorCadence.WEEKLY: 'weekly'>]"
)


class BadCadenceError(ValueError):
    """Error for a text that is not a cadence. The message is the server's."""


def normalised(cadence: str) -> str:
    """Return a cadence in its stored form. Raises BadCadenceError."""
    if cadence in _FIXED:
        return cadence
    if not cadence.startswith(_CRON):
        raise BadCadenceError(f"Invalid cadence {cadence!r}. Must be one of {_CHOICES} or 'cron:<expression>'.")
    expression = cadence.removeprefix(_CRON).strip()
    if not expression:
        raise BadCadenceError("Cron expression must not be empty after 'cron:' prefix.")
    try:
        Cron.parse(expression).after(datetime_of(0))
    except BadCronError:
        raise BadCadenceError(f"Invalid cron expression: {expression!r}") from None
    return _CRON + expression


def next_run(cadence: str, after: int) -> int:
    """Return the next time, in microseconds, of a stored cadence."""
    if cadence in _FIXED:
        return after + _FIXED[cadence]
    return micros_of(Cron.parse(cadence.removeprefix(_CRON)).after(datetime_of(after)))


# -- cron --------------------------------------------------------------------------------------------------------------

_MONTH_NAMES: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS: Final = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_DAYS: Final = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_RANGES: Final = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_ALIASES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_PART: Final = re.compile(r"(?:(\*)|([a-z0-9]+)(?:-([a-z0-9]+))?)(?:/([0-9]+))?")
# 29 February on a Monday recurs within 28 years. A time that has not occurred by then never does.
_HORIZON_DAYS: Final = 366 * 29


class BadCronError(ValueError):
    """Error for a text that is not a cron expression, or that matches no time."""


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Return the parsed expression. Raises BadCronError."""
        fields = _ALIASES.get(text.lower(), text).lower().split()
        if len(fields) != len(_RANGES):
            raise BadCronError(text)
        minutes, hours, days, months, weekdays = (_values(field, position) for position, field in enumerate(fields))
        return cls(
            minutes,
            hours,
            days,
            months,
            frozenset(day % 7 for day in weekdays),
            either_day=not fields[2].startswith("*") and not fields[4].startswith("*"),
        )

    def after(self, moment: datetime) -> datetime:
        """Return the first matching time after a moment (UTC). Raises BadCronError if there is none."""
        start = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
        day = start.replace(hour=0, minute=0)
        for _ in range(_HORIZON_DAYS):
            if self._fits_day(day):
                for hour in sorted(self.hours):
                    for minute in sorted(self.minutes):
                        candidate = day.replace(hour=hour, minute=minute)
                        if candidate >= start:
                            return candidate
            day += timedelta(days=1)
        raise BadCronError("no time matches this expression")

    def _fits_day(self, day: datetime) -> bool:
        if day.month not in self.months:
            return False
        by_date = day.day in self.days
        by_weekday = day.isoweekday() % 7 in self.weekdays
        return (by_date or by_weekday) if self.either_day else (by_date and by_weekday)


def _values(field: str, position: int) -> frozenset[int]:
    low, high = _RANGES[position]
    found: set[int] = set()
    for part in field.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise BadCronError(field)
        star, first, last, step = match.groups()
        begin = low if star else _number(first, position)
        end = high if star else _number(last, position) if last else high if step else begin
        if not low <= begin <= end <= high or step == "0":
            raise BadCronError(field)
        found.update(range(begin, end + 1, int(step or 1)))
    return frozenset(found)


def _number(text: str, position: int) -> int:
    names = _MONTHS if position == 3 else _DAYS if position == 4 else {}
    if text in names:
        return names[text]
    if not text.isdecimal() or len(text) > 2:
        raise BadCronError(text)
    return int(text)
