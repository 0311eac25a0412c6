"""One log line for each cause, not one for each trace."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

REPEAT_AFTER_S: Final = 3600.0
"""A cause that persists is named again after this time."""

logger = logging.getLogger("pandaprobe_otel")


class Notices:
    """Logs a message at most once in `REPEAT_AFTER_S` for each cause."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self.reset()

    def reset(self) -> None:
        """Forget what was said (and the lock of a parent process)."""
        self._lock = threading.Lock()
        self._said: dict[str, float] = {}

    def say(self, cause: str, message: str, *, level: int = logging.WARNING) -> None:
        """Log `message`, unless this cause was named within the last hour."""
        now = self._monotonic()
        with self._lock:
            last = self._said.get(cause)
            if last is not None and now - last < REPEAT_AFTER_S:
                return
            self._said[cause] = now
        logger.log(level, "%s", message)

    def over(self, cause: str) -> None:
        """The cause is gone: name it again when it comes back."""
        if cause not in self._said:
            return
        with self._lock:
            self._said.pop(cause, None)
