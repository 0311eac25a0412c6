"""The cadences of monitors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pandaprobe_otel.local.evaluation.cron import BadCronError, Cron
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
