"""What is told once and counted: a fault of this library inside a user's call, which goes no further, and mistakes."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from typing import Final

logger = logging.getLogger("pandaprobe_otel")

MAX_MISTAKES: Final = 1000
"""Texts that are remembered: some hold names of the app's."""

_counts: Counter[str] = Counter()
_mistakes: Counter[str] = Counter()


def failed(where: str, error: BaseException) -> None:
    """Count a fault at this place; the first one of each place is logged as a warning, the rest at debug level."""
    _counts[where] += 1
    level = logging.WARNING if _counts[where] == 1 else logging.DEBUG
    logger.log(level, "Tracing failed in %s (%s); the call itself is not affected.", where, type(error).__name__)
    logger.debug("Fault in %s:", where, exc_info=error)


def counted(where: str, error: BaseException) -> None:
    """Count a fault that what is sent tells of itself, as by a value that cannot be shown; logged for debugging."""
    _counts[where] += 1
    logger.debug("Fault in %s:", where, exc_info=error)


def mistake(message: str) -> None:
    """Tell, once for each text, of a use that does not do what it was meant to: what, where, and what to do."""
    if message in _mistakes or len(_mistakes) < MAX_MISTAKES:
        _mistakes[message] += 1
        if _mistakes[message] == 1:
            logger.warning("pandaprobe-otel: %s", message)


def unused(what: str) -> None:
    """Tell that a block was made and never entered. Called where the last reference to it goes away."""
    if sys.is_finalizing():
        return
    from inspect import currentframe  # on use: costs more to load than this module

    frame = currentframe()
    for _ in ("this function", "__del__"):
        frame = frame.f_back if frame is not None else None
    place = f" at {frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""
    mistake(f"{what}{place} does nothing: it is a block for `with`, or a decorator.")


def mistakes() -> tuple[str, ...]:
    """The mistakes so far, with how often each was made."""
    return tuple(message if times == 1 else f"{message} ({times} times)" for message, times in _mistakes.items())


def failures() -> dict[str, int]:
    """Return how often each place has failed in this process."""
    return dict(_counts)
