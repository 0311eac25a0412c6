"""JSON and events as bytes: readable, and never failing on unusual texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import orjson

from pandaprobe_otel.mapping import exact_json

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
LINES: Final = "application/x-ndjson"
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


def json_bytes(value: Any) -> bytes:
    """Return a JSON document with spaces, as services send it."""
    return dump(value, spaces=True).encode()


def server_sent(event: Mapping[str, Any], *, is_named: bool) -> bytes:
    """Return one server-sent event, named by its `type` if the protocol names events."""
    name = b"event: %b\n" % str(event["type"]).encode() if is_named else b""
    return name + b"data: %b\n\n" % json_bytes(event)
