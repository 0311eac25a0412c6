"""One log line for each cause, not one for each trace."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from typing import Final

REPEAT_AFTER_S: Final = 3600.0
"""A cause that persists is named again after this time."""
COMES_BACK_AFTER_S: Final = 60.0
"""One that comes and goes is named once in this time."""
MOST_CAUSES: Final = 200
"""Causes that are told apart: a cause may hold the server's words, and a server can say something else each time."""

logger = logging.getLogger("pandaprobe_otel")


class Notices:
    """Logs a message for each cause at most once a minute, and while it persists once an hour."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self.reset()

    def reset(self) -> None:
        """Forget what was said (and the lock of a parent process)."""
        self._lock = threading.Lock()
        self._quiet_until: dict[str, float] = {}
        self._said_at: dict[str, float] = {}

    @property
    def causes(self) -> int:
        """How many causes are remembered."""
        return len(self._quiet_until)

    def say(self, cause: str, message: str, *, level: int = logging.WARNING) -> None:
        """Log `message`, unless this cause was named a short while ago, or an hour ago and is not over."""
        now = self._monotonic()
        with self._lock:
            cause = self._told_apart(cause, now)
            if now < self._quiet_until.get(cause, -math.inf):
                return
            self._quiet_until[cause] = now + REPEAT_AFTER_S
            self._said_at[cause] = now
        logger.log(level, "%s", message)

    def over(self, cause: str) -> None:
        """The cause is gone: name it again when it comes back, but not within the minute."""
        if cause not in self._said_at:
            return
        with self._lock:
            if (said_at := self._said_at.pop(cause, None)) is not None:
                self._quiet_until[cause] = said_at + COMES_BACK_AFTER_S

    def _told_apart(self, cause: str, now: float) -> str:
        """The cause, or, when there are too many, its kind (what stands before the colon), which the source names."""
        if cause in self._quiet_until or len(self._quiet_until) < MOST_CAUSES:
            return cause
        self._quiet_until = {known: until for known, until in self._quiet_until.items() if until > now}
        self._said_at = {known: at for known, at in self._said_at.items() if known in self._quiet_until}
        return cause if len(self._quiet_until) < MOST_CAUSES else cause.partition(":")[0]
