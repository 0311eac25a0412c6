"""Encoding of message content as JSON text, and decoding of JSON bytes, without errors for unusual data."""

from __future__ import annotations

import json
from typing import Any

import orjson

from pandaprobe_otel.mapping import exact_json

_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_SUBCLASS


def to_json(value: Any) -> str:
    """Return compact JSON text of any value. A value without a JSON form is written as its `str`."""
    try:
        return orjson.dumps(value, default=_plain, option=_OPTIONS).decode()
    except TypeError:
        return _leniently_written(value)


def to_json_bytes(value: Any) -> bytes:
    """Return the result of `to_json`, encoded as UTF-8."""
    try:
        return orjson.dumps(value, default=_plain, option=_OPTIONS)
    except TypeError:
        return _leniently_written(value).encode()


def from_json(data: bytes | str) -> Any:
    """Return the value of a JSON document. Raises ValueError for invalid JSON.

    The standard library parses documents that orjson refuses: those with NaN and lone surrogates.
    """
    try:
        return exact_json.loads(data)
    except ValueError:
        return _leniently_read(data)


def object_from_json(data: Any) -> dict[str, Any] | None:
    """Return the object of a JSON document; None for any other kind of document, and for data that is not JSON."""
    try:
        found = exact_json.loads(data)
    except (TypeError, ValueError):
        try:
            found = _leniently_read(data)
        except (TypeError, ValueError, RecursionError):
            return None
    return found if isinstance(found, dict) else None  # pyright: ignore[reportUnknownVariableType]


def _leniently_read(data: bytes | str) -> Any:
    return json.loads(data.decode("utf-8", errors="replace") if isinstance(data, bytes) else data)


def _leniently_written(value: Any) -> str:
    # The standard library encodes what orjson refuses: a lone surrogate, an int over 64 bits, or deep nesting.
    return json.dumps(value, default=_plain, separators=(",", ":"), skipkeys=True)


def _plain(value: Any) -> Any:
    """Return a JSON form of any other value: a pydantic model as its fields, the rest as text."""
    dump = getattr(value, "model_dump", None)
    if callable(dump) and not isinstance(value, type):
        return dump(mode="json", exclude_unset=True)
    if isinstance(value, dict):
        return dict(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, str):
        return str.__str__(value)
    return str(value)
