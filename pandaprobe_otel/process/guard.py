"""Counts of faults of this library inside user calls (never propagated) and of usage mistakes; each is logged once."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from typing import Final

logger = logging.getLogger("pandaprobe_otel")

MAX_MISTAKES: Final = 1000
"""Bound on remembered messages, because some contain names from the app."""

_counts: Counter[str] = Counter()
_mistakes: Counter[str] = Counter()


def failed(where: str, error: BaseException) -> None:
    """Count a fault at this place; log the first one of each place as a warning and the rest at debug level."""
    _counts[where] += 1
    level = logging.WARNING if _counts[where] == 1 else logging.DEBUG
    logger.log(level, "Tracing failed in %s (%s); the call itself is not affected.", where, type(error).__name__)
    logger.debug("Fault in %s:", where, exc_info=error)


def counted(where: str, error: BaseException) -> None:
    """Count a fault and log it only at debug level, because the trace shows it (such as a value whose `repr` fails)."""
    _counts[where] += 1
    logger.debug("Fault in %s:", where, exc_info=error)


def mistake(message: str) -> None:
    """Warn, once per message, about a use without the intended effect. The message has the place and the remedy."""
    if message in _mistakes or len(_mistakes) < MAX_MISTAKES:
        _mistakes[message] += 1
        if _mistakes[message] == 1:
            logger.warning("pandaprobe-otel: %s", message)


def unused(what: str) -> None:
    """Warn that a block was created but never entered. Called from its `__del__`."""
    if sys.is_finalizing():
        return
    from inspect import currentframe  # imported here, because it takes longer to load than this module

    frame = currentframe()
    for _ in ("this function", "__del__"):
        frame = frame.f_back if frame is not None else None
    place = f" at {frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""
    mistake(f"{what}{place} does nothing: use it with `with`, or as a decorator.")


def mistakes() -> tuple[str, ...]:
    """Return the mistakes so far, each with its count."""
    return tuple(message if times == 1 else f"{message} ({times} times)" for message, times in _mistakes.items())


def failures() -> dict[str, int]:
    """Return the number of faults at each place in this process."""
    return dict(_counts)
