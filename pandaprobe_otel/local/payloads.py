"""JSON payloads in the store: encoded once when they arrive, returned without parsing."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, cast

import orjson

from pandaprobe_otel.mapping import exact_json

MAX_DEPTH: Final = 254
"""Deepest nesting of a value that the server stores. Deeper values get a plain-text 500 (measured on server 0.5.0)."""

# In JSON text, a NUL can only be an escape. A lone surrogate can be an escape or its three raw bytes.
_SUSPECT_TEXT: Final = re.compile(rb"\\u0000|\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")
_SUSPECT_PREFIXES: Final = (b"\\u0000", b"\\ud", b"\\uD", b"\xed")
"""Prefixes of the expression's matches. Searching for them takes a tenth of its time."""
# Text that Python's parser reads as NaN or infinity: these words, and numbers beyond the range of a double.
_SUSPECT_NUMBER: Final = re.compile(rb"NaN|Infinity|[eE]\+?[0-9]{3}|[0-9]{309}")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_LONE_SURROGATE: Final = "Text must not contain a lone surrogate (\\ud800-\\udfff)"
_BOUNDED: Final = re.compile(r"(?:(?:spans -> )?\d+ -> )?(?:name|session_id|user_id|environment|release|model)")
"""Paths of the texts that the real server must decode, because it checks their length."""
_NOT_UNICODE: Final = "Input should be a valid string, unable to parse raw data as a unicode string"
"""The server's message if it cannot decode such a text."""


class TooDeepError(Exception):
    """A value is nested deeper than the server can store."""

    def __init__(self) -> None:
        super().__init__(f"Value should not be nested deeper than {MAX_DEPTH} levels")


def encode(value: Any) -> str | None:
    """Return the JSON text of a value; None for None. NaN and infinities become null, as on the server.

    Raises TooDeepError for more than 254 levels. Integers of any size are exact.
    """
    if value is None:
        return None
    try:
        # orjson refuses more than 255 levels, so an additional list around the value gives the server's limit.
        return orjson.dumps([value])[1:-1].decode()
    except orjson.JSONEncodeError:
        if _depth(value) > MAX_DEPTH:
            raise TooDeepError from None
        return json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"))


def fragment(text: str | None) -> Any:
    """Return stored JSON text as an object that `dumps` copies into the answer unchanged."""
    return None if text is None else orjson.Fragment(text)


def dumps(content: Any) -> bytes:
    """Return the JSON body of an answer."""
    return orjson.dumps(content)


def loads(text: str | None) -> Any:
    """Parse stored JSON text. Integers of any size are exact."""
    return None if text is None else exact_json.loads(text)


def plain(record: Any) -> Any:
    """Return an API record with its stored JSON parsed."""
    return exact_json.loads(dumps(record))


def loads_any(body: bytes) -> Any:
    """Parse what a client sent. What only the standard library's parser accepts, such as NaN, is accepted too."""
    try:
        return exact_json.loads(body)
    except ValueError:
        return json.loads(body)  # The server's own parser, whose errors it reports.


def merge_objects(old: str | None, new: dict[str, Any]) -> str:
    """Return the JSON text of stored metadata, updated with new keys. Only the first level is merged."""
    merged: dict[str, Any] = {**(loads(old) or {}), **new}
    return encode(merged) or "{}"


def unstorable(body: bytes, *, numbers: bool) -> tuple[str, str] | None:
    """Return the path and reason of the first value that PostgreSQL cannot store; None if there is none.

    numbers: NaN and infinities count too. `POST /traces` stores them as null, and every other route of the real server
    fails on them with a 500.

    The real server also fails with a 500 on a NUL or a lone surrogate. Only `POST /traces` answers 202, and loses the
    trace (measured on server 0.5.0).
    """
    may_be_suspect = any(prefix in body for prefix in _SUSPECT_PREFIXES)
    suspect = (may_be_suspect and _SUSPECT_TEXT.search(body)) or (numbers and _SUSPECT_NUMBER.search(body))
    if not suspect:
        return None
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None  # The parser that reads it later reports it as malformed.
    for path, value in _leaves(content):
        if not isinstance(value, str):
            if numbers and not math.isfinite(value):
                return path, "Input should be a finite number"
        elif "\x00" in value:
            return path, "Text must not contain a NUL character (\\u0000)"
        elif _SURROGATE.search(value):
            return path, _NOT_UNICODE if _BOUNDED.fullmatch(path) else _LONE_SURROGATE
    return None


def _leaves(content: Any) -> Iterator[tuple[str, str | float]]:
    """Yield every key, text and float with its path. Not recursive, since bodies may be deeper than the stack."""
    waiting: list[tuple[str, Any]] = [("", content)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, str | float):
            yield path, value
        if isinstance(value, dict):
            yield from ((path, key) for key in cast(dict[str, Any], value))
        waiting.extend((f"{path} -> {key}" if path else str(key), item) for key, item in _children(value))


def _children(value: Any) -> Iterable[tuple[str | int, Any]]:
    if isinstance(value, dict):
        return cast(dict[str, Any], value).items()
    if isinstance(value, list):
        return enumerate(cast(Sequence[Any], value))
    return ()


def _depth(value: Any) -> int:
    deepest = 0
    waiting: list[tuple[Any, int]] = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        deepest = max(deepest, depth + isinstance(item, dict | list))
        waiting.extend((child, depth + 1) for _, child in _children(item))
    return deepest


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in cast(dict[str, Any], value).items()}
    if isinstance(value, list):
        return [_finite(item) for item in cast(Sequence[Any], value)]
    return value
