"""The switch for message content, and the form of content as span attributes."""

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
"""Bound of one content attribute, in characters of JSON text. Longer texts inside are cut, with a mark."""
_CUT_STEPS: Final = (65536, 8192, 1024, 128)

_logger = logging.getLogger(__name__)

_OF_TOOLS: Final = frozenset({names.TOOL_CALL_ARGUMENTS, names.TOOL_CALL_RESULT})

Content = Mapping[str, Any]
"""Attribute name (`gen_ai.input.messages`, ...) to the plain value that its JSON text stands for."""


def captures_content() -> bool:
    """Read OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT; True when it is not set.

    Both generations of values are understood: true/false, and NO_CONTENT, SPAN_ONLY, EVENT_ONLY and
    SPAN_AND_EVENT. EVENT_ONLY keeps content off spans, so here it means no content. A word that is none of
    these means no content too, with a warning: whoever set it meant to restrict something.
    """
    raw = os.environ.get(CAPTURE_VARIABLE, "").strip().lower()
    if not raw or raw in _ON:
        return True
    if raw not in _OFF:
        _logger.warning("%s=%r is not a known value; message content is not recorded.", CAPTURE_VARIABLE, raw)
    return False


def encoded(content: Content) -> dict[str, str]:
    """Return content as span attributes: a text as it is, else JSON text, each within MAX_ATTRIBUTE_CHARS.

    What is empty is left out, except of a tool: that it was called with nothing, or found nothing, is content.
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
    """Return the value with every text in it of at most `limit` characters; what is cut says so."""
    if isinstance(value, str):
        return value if len(value) <= limit else f"{value[:limit]}… [cut, {len(value)} characters]"
    if isinstance(value, Mapping):
        return {key: with_short_texts(item, limit) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, (list, tuple)):
        return [with_short_texts(item, limit) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value
