"""Log lines: one for each cause, not one for each trace."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from typing import Final

REPEAT_AFTER_S: Final = 3600.0
"""Time after which a continuing cause is logged again."""
COMES_BACK_AFTER_S: Final = 60.0
"""Shortest time between two log lines of a cause that comes and goes."""
MOST_CAUSES: Final = 200
"""Bound on distinguished causes. A cause may contain the server's words, which may differ each time."""

logger = logging.getLogger("pandaprobe_otel")


class Notices:
    """Logger of causes: each at most once a minute, and once an hour while it continues."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self.reset()

    def reset(self) -> None:
        """Forget the logged causes, and the lock of a parent process."""
        self._lock = threading.Lock()
        self._quiet_until: dict[str, float] = {}
        self._said_at: dict[str, float] = {}

    @property
    def causes(self) -> int:
        """Number of remembered causes."""
        return len(self._quiet_until)

    def say(self, cause: str, message: str, *, level: int = logging.WARNING) -> None:
        """Log `message`, unless this cause was logged within the minute, or within the hour and is not over."""
        now = self._monotonic()
        with self._lock:
            cause = self._told_apart(cause, now)
            if now < self._quiet_until.get(cause, -math.inf):
                return
            self._quiet_until[cause] = now + REPEAT_AFTER_S
            self._said_at[cause] = now
        logger.log(level, "%s", message)

    def over(self, cause: str) -> None:
        """End a cause: if it returns, it is logged again, but not within the minute."""
        if cause not in self._said_at:
            return
        with self._lock:
            if (said_at := self._said_at.pop(cause, None)) is not None:
                self._quiet_until[cause] = said_at + COMES_BACK_AFTER_S

    def _told_apart(self, cause: str, now: float) -> str:
        """Return the cause; if there are too many, return only its kind.

        The kind is the text before the colon, which comes from the source code.
        """
        if cause in self._quiet_until or len(self._quiet_until) < MOST_CAUSES:
            return cause
        self._quiet_until = {known: until for known, until in self._quiet_until.items() if until > now}
        self._said_at = {known: at for known, at in self._said_at.items() if known in self._quiet_until}
        return cause if len(self._quiet_until) < MOST_CAUSES else cause.partition(":")[0]
