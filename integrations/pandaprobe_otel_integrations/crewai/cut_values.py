"""Values that CrewAI's events cut at a depth. Deeper values appear as their Python `repr`."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any, Final

from pandaprobe_otel_integrations._shape import items, obj

_DEPTH: Final = 5
"""Depth below which CrewAI writes a value's `repr`, for example of a picture's address or a tool's arguments."""


def mended(value: Any, depth: int = 0) -> Any:
    """Return the value as it was before an event cut it, if its text allows that."""
    if depth >= _DEPTH:
        return _read(value) if isinstance(value, str) else value
    if isinstance(value, Mapping):
        return {name: mended(item, depth + 1) for name, item in obj(value).items()}
    if isinstance(value, (list, tuple)):
        return [mended(item, depth + 1) for item in items(value)]
    return value


def _read(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
