"""Values and calls as formatted Python code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pandaprobe_otel.evals.traces import SpanRecord

LINE: Final = 120


def literal(value: Any) -> str:
    """Return a JSON value as Python code, with texts in double quotes."""
    if isinstance(value, str):
        plain = repr(value)
        if plain.startswith("'") and '"' not in value:
            return f'"{plain[1:-1]}"'
        return plain
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{literal(key)}: {literal(item)}" for key, item in value.items()) + "}"  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"  # pyright: ignore[reportUnknownArgumentType]
    return repr(value)


def arguments_text(arguments: Mapping[str, Any]) -> str:
    """Return arguments by name, as in a call."""
    if all(map(str.isidentifier, arguments)):
        return ", ".join(f"{name}={literal(value)}" for name, value in arguments.items())
    return f"**{literal(arguments)}"


def call_text(span: SpanRecord) -> str:
    """Return a tool call as Python code."""
    return f"{span.name}({arguments_text(span.arguments)})"
