"""Values and calls as formatted Python code."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from keyword import iskeyword
from typing import Any, Final, cast

from pandaprobe_otel.traces.records import SpanRecord

LINE: Final = 120


_DEEPEST: Final = 40
"""Nesting up to which a value is written as Python code. Python's parser accepts less than 100 levels."""


def literal(value: Any) -> str:
    """Return a JSON value as Python code, with texts in double quotes.

    A deeper value is written as JSON, and the file then needs `import json`.
    """
    if _is_deep(value, _DEEPEST):
        return f"json.loads({literal(json.dumps(value))})"
    return _literal(value)


def _is_deep(value: Any, levels: int) -> bool:
    inner: Iterable[Any] = ()
    if isinstance(value, Mapping):
        inner = cast("Mapping[str, Any]", value).values()
    elif isinstance(value, list):
        inner = value  # pyright: ignore[reportUnknownVariableType]
    return levels == 0 or any(_is_deep(item, levels - 1) for item in inner)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _literal(value: Any) -> str:
    if isinstance(value, str):
        plain = repr(value)
        if plain.startswith("'") and '"' not in value:
            return f'"{plain[1:-1]}"'
        return plain
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(item)}" for key, item in value.items()) + "}"  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    return repr(value)


def is_name(text: str) -> bool:
    """Return whether a text can be a name in Python code."""
    return text.isidentifier() and not iskeyword(text)


def shortened(text: str, most: int | None = None) -> str:
    """Return a text on one line, for comments and docstrings, with at most this many characters."""
    plain = re.sub(r"\s+", " ", "".join(one if one.isprintable() else " " for one in text))
    return plain if most is None or len(plain) <= most else f"{plain[: most - 1]}…"


def arguments_text(arguments: Mapping[str, Any]) -> str:
    """Return arguments by name, as in a call."""
    if all(map(is_name, arguments)):
        return ", ".join(f"{name}={literal(value)}" for name, value in arguments.items())
    return f"**{literal(arguments)}"


def call_text(span: SpanRecord) -> str:
    """Return a tool call as Python code."""
    return f"{span.name}({arguments_text(span.arguments)})"
