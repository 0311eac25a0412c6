"""Outcome of a span: OK, ERROR or UNSET, and the text of the error.

UNSET stands for what neither succeeded nor failed: it was cancelled, timed out, was interrupted, or was left early.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pandaprobe_otel.mapping.table import FAILURES
from pandaprobe_otel.mapping.text import cut_text
from pandaprobe_otel.mapping.view import EventView, SpanView

MAX_ERROR: Final = 16_384
"""Characters of an error text; the server has no limit, but an error repeated in a judge's prompt should have one."""


def outcome(view: SpanView, found: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return (status, error text). An `exception` event alone is a handled exception, not a failure."""
    failed = view.status_code == "ERROR" or not found.keys().isdisjoint(FAILURES)
    if not failed and "outcome" in found:
        return "UNSET", None
    if not failed:
        return ("OK" if view.end_ns is not None else "UNSET"), None
    return "ERROR", _within(error_text(view, found))


def _within(text: str) -> str:
    return text if len(text) <= MAX_ERROR else cut_text(text, MAX_ERROR)


def error_text(view: SpanView, found: Mapping[str, Any]) -> str:
    """Return the text of the error: the exception's own message first, since it equals `str(exc)`."""
    own = _text(found.get("error.own"))
    if own is not None:
        return own
    exception = last_exception(view)
    if exception is not None:
        for key in ("exception.message", "exception.type"):
            if text := _text(exception.attributes.get(key)):
                return text
    return _text(view.status_description) or _text(found.get("error.text")) or _text(found.get("error_type")) or "error"


def last_exception(view: SpanView) -> EventView | None:
    """Return the last `exception` event, None if there is none."""
    for event in reversed(view.events):
        if event.name in ("exception", "gen_ai.client.operation.exception"):
            return event
    return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None
