"""Access to JSON of unknown shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast


def object_in(value: Any) -> dict[str, Any] | None:
    """Return a value if it is a JSON object; otherwise None."""
    return cast(dict[str, Any], value) if isinstance(value, dict) else None


def list_in(value: Any) -> Sequence[Any] | None:
    """Return a value if it is a JSON array; otherwise None."""
    return cast(Sequence[Any], value) if isinstance(value, list) else None


def number_in(value: Any) -> float | None:
    """Return a value if it is a number; otherwise None. Booleans are not numbers."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
