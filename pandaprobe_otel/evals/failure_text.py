"""Bounded text of an exception that is the result of a case."""

from __future__ import annotations

from typing import Final

_MOST: Final = 8_000
"""Maximum number of characters. A service may answer an error with a whole page."""


def failure_text(error: BaseException) -> str:
    """Return the name of an exception and its text."""
    return f"{type(error).__name__}: {text_of_error(error)}"


def text_of_error(error: BaseException) -> str:
    """Return the text of an exception, truncated if it is long."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - whatever an app's own exception does there
        return "(its text cannot be read)"
    return text if len(text) <= _MOST else f"{text[:_MOST]}…"
