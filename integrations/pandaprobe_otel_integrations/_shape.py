"""Reading JSON of unknown structure: the value if it has the expected type, otherwise nothing.

Each call and each chunk of every library uses these functions many times, so they check the exact types of decoded JSON
first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Object = Mapping[str, Any]


def obj(value: Any) -> Object:
    """Return `value` as an object. Apps may send answers back as pydantic models; their set fields are returned."""
    if type(value) is dict:
        return value  # pyright: ignore[reportUnknownVariableType]
    if value is None:
        return {}
    if isinstance(value, (dict, Mapping)):  # dict first: the check against the abstract class is ten times as slow
        return value  # pyright: ignore[reportUnknownVariableType]
    dump = getattr(value, "model_dump", None)
    if callable(dump) and not isinstance(value, type):
        dumped: Any = dump(mode="json", exclude_unset=True)
        return dumped if isinstance(dumped, dict) else {}  # pyright: ignore[reportUnknownVariableType]
    return {}


def items(value: Any) -> list[Any]:
    """Return `value` as a list; anything else, including text, gives an empty list."""
    return list(value) if isinstance(value, (list, tuple)) else []  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def objects(value: Any) -> list[Object]:
    """Return the objects among the items of `value`."""
    found: list[Object] = []
    if isinstance(value, (list, tuple)):
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            # In Python 3.11, a comprehension would be another call.
            if type(item) is not dict:  # pyright: ignore[reportUnknownArgumentType]
                item = obj(item)
            if item:
                found.append(item)  # pyright: ignore[reportUnknownArgumentType]
    return found


def string(value: Any) -> str | None:
    """Return a text that is not empty; otherwise None."""
    return value if isinstance(value, str) and value else None


def integer(value: Any) -> int | None:
    """Return an integer, but not a bool; otherwise None."""
    if value is None or type(value) is int:
        return value
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) else None


def number(value: Any) -> float | None:
    """Return a number as a float, as in the conventions, but not a bool; otherwise None."""
    if value is None or type(value) is float:
        return value
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def strings(value: Any) -> list[str] | None:
    """Return a text or a list of texts as a list; None if there is none."""
    if value is None:
        return None
    if isinstance(value, str):
        return [value]
    return [item for item in items(value) if isinstance(item, str)] or None
