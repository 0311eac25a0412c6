"""The switch for message content, and the encoding of content as span attributes."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, Final

from . import _names as names
from ._json import to_json

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
