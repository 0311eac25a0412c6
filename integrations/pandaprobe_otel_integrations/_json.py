"""JSON of unknown structure, read and written."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from typing import Any, Final

import orjson

from pandaprobe_otel.mapping import exact_json
from pandaprobe_otel_integrations import _names as names

# -- reading JSON of unknown structure: the value if it has the expected type, otherwise nothing -----------------------

Object = Mapping[str, Any]


def obj(value: Any) -> Object:
    """Return `value` as an object. Apps may send answers back as pydantic models; their set fields are returned."""
    if type(value) is dict:
        return value  # pyright: ignore[reportUnknownVariableType]
    if value is None:
        return {}
    if isinstance(value, (dict, Mapping)):  # dict first: the check against the abstract class is ten times as slow
        return value  # pyright: ignore[reportUnknownVariableType]
    dump = getattr(value, "model_dump", None)
    if callable(dump) and not isinstance(value, type):
        dumped: Any = dump(mode="json", exclude_unset=True)
        return dumped if isinstance(dumped, dict) else {}  # pyright: ignore[reportUnknownVariableType]
    return {}


def items(value: Any) -> list[Any]:
    """Return `value` as a list; anything else, including text, gives an empty list."""
    return list(value) if isinstance(value, (list, tuple)) else []  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def objects(value: Any) -> list[Object]:
    """Return the objects among the items of `value`."""
    found: list[Object] = []
    if isinstance(value, (list, tuple)):
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            # In Python 3.11, a comprehension would be another call.
            if type(item) is not dict:  # pyright: ignore[reportUnknownArgumentType]
                item = obj(item)
            if item:
                found.append(item)  # pyright: ignore[reportUnknownArgumentType]
    return found


def string(value: Any) -> str | None:
    """Return a text that is not empty; otherwise None."""
    return value if isinstance(value, str) and value else None


def integer(value: Any) -> int | None:
    """Return an integer, but not a bool; otherwise None."""
    if value is None or type(value) is int:
        return value
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) else None


def number(value: Any) -> float | None:
    """Return a number as a float, as in the conventions, but not a bool; otherwise None."""
    if value is None or type(value) is float:
        return value
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def strings(value: Any) -> list[str] | None:
    """Return a text or a list of texts as a list; None if there is none."""
    if value is None:
        return None
    if isinstance(value, str):
        return [value]
    return [item for item in items(value) if isinstance(item, str)] or None


# -- encoding of message content as JSON text, and decoding of JSON bytes, without errors for unusual data -------------

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


# -- the switch for message content, and the encoding of content as span attributes ------------------------------------

CAPTURE_VARIABLE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_ON: Final = frozenset({"true", "1", "yes", "on", "span_only", "span_and_event"})
_OFF: Final = frozenset({"false", "0", "no", "off", "no_content", "event_only"})

MAX_ATTRIBUTE_CHARS: Final = 4 << 20
"""Largest size of a content attribute, in characters of JSON text. Longer texts inside are cut, with a marker."""
_CUT_STEPS: Final = (65536, 8192, 1024, 128)

_logger = logging.getLogger(__name__)

_OF_TOOLS: Final = frozenset({names.TOOL_CALL_ARGUMENTS, names.TOOL_CALL_RESULT})

Content = Mapping[str, Any]
"""Attribute name (`gen_ai.input.messages`, ...) to the plain value that is encoded as JSON text."""


def captures_content() -> bool:
    """Read OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT. The default is True.

    Both generations of values are understood: true/false, and NO_CONTENT, SPAN_ONLY, EVENT_ONLY and SPAN_AND_EVENT.
    EVENT_ONLY keeps content off spans, so it means no content here. An unknown value also means no content, with a
    warning: its author wanted to restrict something.
    """
    raw = os.environ.get(CAPTURE_VARIABLE, "").strip().lower()
    if not raw or raw in _ON:
        return True
    if raw not in _OFF:
        _logger.warning("%s=%r is not a known value; message content is not recorded.", CAPTURE_VARIABLE, raw)
    return False


def encoded(content: Content) -> dict[str, str]:
    """Return content as span attributes, each within MAX_ATTRIBUTE_CHARS: text unchanged, anything else as JSON text.

    Empty values are left out. For a tool, however, empty arguments and empty results are content.
    """
    found: dict[str, str] = {}
    for name, value in content.items():
        if value or (name in _OF_TOOLS and value is not None and value != ""):
            written = value if isinstance(value, str) else to_json(value)
            found[name] = written if len(written) <= MAX_ATTRIBUTE_CHARS else _cut(value)
    return found


def _cut(value: Any) -> str:
    written = value if isinstance(value, str) else to_json(value)
    if not isinstance(value, str):
        for limit in _CUT_STEPS:
            written = to_json(with_short_texts(value, limit))
            if len(written) <= MAX_ATTRIBUTE_CHARS:
                break
    return written[:MAX_ATTRIBUTE_CHARS]


def with_short_texts(value: Any, limit: int) -> Any:
    """Return the value with every text in it cut to `limit` characters, with a marker."""
    if isinstance(value, str):
        return value if len(value) <= limit else f"{value[:limit]}… [cut, {len(value)} characters]"
    if isinstance(value, Mapping):
        return {key: with_short_texts(item, limit) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, (list, tuple)):
        return [with_short_texts(item, limit) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value
