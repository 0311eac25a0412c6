"""States of a failure group: new, ongoing, muted, resolved, or back after it was resolved."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

DAY: Final = 86_400_000_000
NEW_FOR: Final = 7 * DAY
"""Microseconds for which a group is new."""


class State(StrEnum):
    """The state of a group."""

    NEW = "new"
    ONGOING = "ongoing"
    REGRESSED = "regressed"
    MUTED = "muted"
    RESOLVED = "resolved"


OPEN: Final = frozenset({State.NEW, State.ONGOING, State.REGRESSED})
"""States of groups that need attention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handling:
    """Latest action of a person on a group: muted or resolved. Moments are microseconds.

    Attributes:
        until: The moment at which a muted group is shown again.
        until_count: The number of further traces after which it is shown again.
        release: The release that resolves the group.
    """

    action: State
    at: int
    until: int | None = None
    until_count: int | None = None
    release: str | None = None


def state_of(handling: Handling | None, *, first_at: int, now: int, further: int) -> State:
    """Return the state of a group.

    further: the number of its traces that *started* after the action. For a resolved group, only those that count; see
    `counts_as_recurrence`.
    """
    if handling is not None and handling.action is State.RESOLVED:
        return State.REGRESSED if further else State.RESOLVED
    if handling is not None and not _is_over(handling, now, further):
        return State.MUTED
    return State.NEW if now - first_at < NEW_FOR else State.ONGOING


def counts_as_recurrence(release_first_at: int | None, resolved_first_at: int | None, *, has_release: bool) -> bool:
    """Return whether a trace that started after a group was resolved in a release counts as a recurrence.

    A trace of an older release does not count, since older releases continue to fail for a while. Releases are compared
    by the moments at which they were first seen. A trace without a release counts, since it may belong to any.
    """
    if not has_release:
        return True
    return release_first_at is not None and resolved_first_at is not None and release_first_at >= resolved_first_at


def _is_over(handling: Handling, now: int, further: int) -> bool:
    if handling.until is not None and now >= handling.until:
        return True
    return handling.until_count is not None and further >= handling.until_count
