"""Members of a JSON object as attributes, by a table: only what is there costs something, and nothing becomes None."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ._endpoint import Attributes
from ._shape import Object, integer, number, string

Readings = Mapping[str, tuple[str, Callable[[Any], Any]]]
"""Member to attribute, and the function that reads its value; None from it means that there is no attribute."""

_EXACT: Final[Mapping[Callable[[Any], Any], type[Any]]] = {string: str, integer: int, number: float}
"""Readers by the type whose values, unless empty or zero, they give back as they are: nearly all of what comes."""


def read(members: Object, readings: Readings) -> Attributes:
    """Return the attributes of those members that `readings` has, in the order of the members."""
    found: Attributes = {}
    for member, value in members.items():
        if value is not None and (reading := readings.get(member)) is not None:
            attribute, reader = reading
            if value and type(value) is _EXACT.get(reader):  # without a call for each member of each call
                found[attribute] = value
            elif (told := reader(value)) is not None:
                found[attribute] = told
    return found


def true(value: Any) -> bool | None:
    """Return True or None: False, the default, is not worth an attribute."""
    return True if value is True else None


def more_than_one(value: Any) -> int | None:
    """Return a number of choices, where it is not the usual one."""
    count = integer(value)
    return count if count is not None and count > 1 else None


def counted(value: Any) -> int | None:
    """Return a count, where zero says no more than its absence."""
    return integer(value) or None


def positive(value: Any) -> int | None:
    """Return a limit, where zero and below stand for none."""
    count = integer(value)
    return count if count is not None and count > 0 else None
