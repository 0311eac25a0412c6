"""JSON of cassettes: readable, and never failing on unusual texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import orjson

from pandaprobe_otel.mapping import exact_json

_SHORT: Final = 60
_SPACED: Final = json.JSONEncoder(ensure_ascii=False)
_COMPACT: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def load(data: bytes | str) -> Any:
    """Parse JSON. Raises ValueError, or RecursionError if it is nested too deeply."""
    try:
        return exact_json.loads(data)
    except ValueError:  # NaN, for example, which orjson does not support
        return json.loads(data)


def dump(value: Any, *, spaces: bool = False) -> str:
    """Return JSON text. A lone surrogate, which UTF-8 cannot encode, is escaped."""
    text = (_SPACED if spaces else _COMPACT).encode(value)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=None if spaces else (",", ":"))
    return text


def dump_bytes(value: Any) -> bytes:
    """Return JSON as bytes, by the fastest way."""
    try:
        return orjson.dumps(value)
    except TypeError:  # integers over 64 bits, or a lone surrogate
        return dump(value).encode()


def dump_in_lines(value: Any) -> str:
    """Return the JSON of a request, with one line for each long field and for each item of a long list."""
    if not isinstance(value, Mapping) or not value:
        return dump(value, spaces=True)
    parts: list[str] = []
    short: list[str] = []
    for key, item in cast("Mapping[str, Any]", value).items():
        text = f"{dump(key)}: {_field(item)}"
        if len(text) <= _SHORT:
            short.append(text)
            continue
        parts += [", ".join(short)] if short else []
        parts.append(text)
        short = []
    parts += [", ".join(short)] if short else []
    return "{" + ",\n ".join(parts) + "}\n"


def _field(value: Any) -> str:
    if not isinstance(value, list):
        return dump(value, spaces=True)
    items = [_item(item) for item in cast("Sequence[Any]", value)]
    between = ", " if sum(map(len, items)) + 2 * len(items) <= _SHORT else ",\n  "
    return f"[{between.join(items)}]"


def _item(value: Any) -> str:
    """Return the text of an item, most often a message of a few texts, which orjson writes faster."""
    if isinstance(value, dict):
        texts = cast("dict[str, Any]", value)
        if all(isinstance(text, str) for text in texts.values()):
            try:
                members = [f"{_text(key)}: {_text(text)}" for key, text in texts.items()]
            except TypeError:  # a lone surrogate
                return dump(texts, spaces=True)
            return f"{{{', '.join(members)}}}"
    return dump(value, spaces=True)


def _text(text: str) -> str:
    return orjson.dumps(text).decode()
