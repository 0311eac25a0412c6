"""Members of a JSON object as attributes, by a table.

Only members that are present cost time, and no attribute is None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ._endpoint import Attributes
from ._shape import Object, integer, number, string

Readings = Mapping[str, tuple[str, Callable[[Any], Any]]]
"""Member to attribute, with the function that reads the value. If the function returns None, there is no attribute."""

_EXACT: Final[Mapping[Callable[[Any], Any], type[Any]]] = {string: str, integer: int, number: float}
"""Readers by the type whose non-empty values they return unchanged. They cover nearly all members."""


def read(members: Object, readings: Readings) -> Attributes:
    """Return the attributes of the members in `readings`, in the order of the members."""
    found: Attributes = {}
    for member, value in members.items():
        if value is not None and (reading := readings.get(member)) is not None:
            attribute, reader = reading
            if value and type(value) is _EXACT.get(reader):  # without a call for each member
                found[attribute] = value
            elif (told := reader(value)) is not None:
                found[attribute] = told
    return found


def true(value: Any) -> bool | None:
    """Return True or None: False is the default, and needs no attribute."""
    return True if value is True else None


def more_than_one(value: Any) -> int | None:
    """Return a number of choices if it is above 1; None for 1, the usual number."""
    count = integer(value)
    return count if count is not None and count > 1 else None


def counted(value: Any) -> int | None:
    """Return a count, unless it is zero, which means the same as its absence."""
    return integer(value) or None


def positive(value: Any) -> int | None:
    """Return a limit, unless it is zero or negative, which means no limit."""
    count = integer(value)
    return count if count is not None and count > 0 else None
