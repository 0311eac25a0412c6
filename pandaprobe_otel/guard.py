"""What happens to a fault of this library inside a user's call: it is counted, logged once, and goes no further."""

from __future__ import annotations

import logging
from collections import Counter

logger = logging.getLogger("pandaprobe_otel")

_counts: Counter[str] = Counter()


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


def failures() -> dict[str, int]:
    """Return how often each place has failed in this process."""
    return dict(_counts)
