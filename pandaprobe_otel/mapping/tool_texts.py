"""Arguments and results of tools as text for messages."""

from __future__ import annotations

import json
from typing import Any, Final

from pandaprobe_otel.mapping.exact_types import type_of
from pandaprobe_otel.mapping.values import word

_encode_json: Final = json.JSONEncoder(ensure_ascii=False, default=str).encode


def arguments_text(arguments: Any) -> str:
    """Return a tool call's arguments as JSON text; text stays unchanged, even if it is not valid JSON."""
    if arguments is None:
        return "{}"
    return str(arguments) if type_of(arguments) is str else to_json(arguments)


def result_text(value: Any) -> str:
    """Return a tool's result as text: text unchanged, blocks of text joined, anything else as JSON."""
    if type_of(value) is dict and "value" in value and type_of(value.get("type")) is str and len(value) <= 3:
        value = value["value"]
    kind = type_of(value)
    if kind is str:
        return str(value)
    if kind is dict:
        texts = _texts_of([value])
    elif kind is list:
        texts = _texts_of(value)
    else:
        texts = None
    return "\n".join(texts) if texts is not None else to_json(value)


def is_whole_as_text(value: Any) -> bool:
    """Return whether a tool's result loses nothing when it becomes text, as with text and values written as JSON."""
    kind = type_of(value)
    if kind is dict:
        return "value" not in value and "text" not in value and "content" not in value
    return kind is not list or not (value and type_of(value[0]) is dict)


def to_json(value: Any) -> str:
    """Return JSON text with Python's default separators, as in the wire format of arguments."""
    try:
        return _encode_json(value)
    except (TypeError, ValueError, RecursionError):
        return str(type(value).__name__)


def _texts_of(blocks: list[Any]) -> list[str] | None:
    """Return the texts of a list of pure text blocks (`{text}`, `{type: text, text}`); None for other lists."""
    texts: list[str] = []
    for block in blocks:
        if type_of(block) is not dict:
            return None
        found = block.get("text", block.get("content") if block.get("type") == "text" else None)
        if type_of(found) is not str or not block.keys() <= _TEXT_BLOCK_KEYS:
            return None
        if word(block.get("type", "text")) not in _TEXT_TYPES:
            return None
        texts.append(found)
    return texts or None


_TEXT_TYPES: Final = frozenset({"text", "input_text", "output_text", "summary_text"})
_TEXT_BLOCK_KEYS: Final = frozenset(
    {"type", "text", "content", "annotations", "citations", "id", "cache_control", "index"}
)
