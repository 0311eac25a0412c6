"""Access to JSON of unknown shape."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import orjson

_NOTHING: Final[Mapping[str, Any]] = {}


def object_in(value: Any) -> dict[str, Any] | None:
    """Return a value if it is a JSON object; otherwise None."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def list_in(value: Any) -> Sequence[Any] | None:
    """Return a value if it is a JSON array; otherwise None."""
    return cast("Sequence[Any]", value) if isinstance(value, list) else None


def number_in(value: Any) -> float | None:
    """Return a value if it is a number; otherwise None. Booleans are not numbers."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def members(value: Any) -> Mapping[str, Any]:
    """Return a value if it is an object; otherwise an empty one."""
    if isinstance(value, dict):  # much faster than the look at any mapping
        return cast("Mapping[str, Any]", value)
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else _NOTHING


def items(value: Any) -> Sequence[Any]:
    """Return a value if it is a list; otherwise an empty one."""
    return cast("Sequence[Any]", value) if isinstance(value, list | tuple) else ()


def compact_json(value: Any) -> str:
    """Return a value as JSON text. Integers of any size are exact, and values without a JSON form become text."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
