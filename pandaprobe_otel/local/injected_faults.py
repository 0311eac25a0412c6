"""Faults on demand, to test how a client library handles them."""

from __future__ import annotations

import random
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

Fault = int | Literal["drop", "drop_after"]


@dataclass(slots=True, kw_only=True)
class Faults:
    """Faults of a running server. Every field may be changed at any time.

    fail: the share (0 to 1) of API requests that are not processed. The answer is a 500 as plain text, after which the
    connection is closed.
    slow_s: seconds that every API request waits before it is handled.
    quota_used_up: whether requests that count against a plan's quota get the real server's 429 with `detail`.
    seed: makes the choice of failing requests repeatable.
    """

    fail: float = 0.0
    slow_s: float = 0.0
    quota_used_up: bool = False
    seed: int = 0
    _next: deque[Fault] = field(default_factory=deque[Fault])
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _random: random.Random | None = None

    def next(self, *faults: Fault) -> None:
        """Queue one fault for each of the next API requests.

        A number is the status of an answer without processing. `drop` closes the connection without processing.
        `drop_after` processes the request and then closes the connection without an answer.
        """
        with self._lock:
            self._next.extend(faults)

    def clear(self) -> None:
        """Turn every fault off."""
        with self._lock:
            self._next.clear()
            self.fail, self.slow_s, self.quota_used_up = 0.0, 0.0, False

    def take(self) -> Fault | None:
        """Return the fault of the request that has just arrived, or None."""
        with self._lock:
            if self._next:
                return self._next.popleft()
            if self.fail <= 0.0:
                return None
            if self._random is None:
                self._random = random.Random(self.seed)
            return 500 if self._random.random() < self.fail else None
