"""Access to JSON of unknown shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast


def object_in(value: Any) -> dict[str, Any] | None:
    """Return a value that is a JSON object; None for any other."""
    return cast(dict[str, Any], value) if isinstance(value, dict) else None


def list_in(value: Any) -> Sequence[Any] | None:
    """Return a value that is a JSON array; None for any other."""
    return cast(Sequence[Any], value) if isinstance(value, list) else None


def number_in(value: Any) -> float | None:
    """Return a value that is a number; None for any other, including true and false."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
