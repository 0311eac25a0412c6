"""Request budgets: one for each credential at each endpoint, shared by all its clients.

The server counts in windows of 60 s that open with the first request (measured on server 0.5.0). A token that is spent
on a request returns 60 s after that request's *answer*. Then no window of the server, however aligned, contains more
requests than the limit (`delivery.budget` has the proof).
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from dataclasses import dataclass, field, fields
from typing import Final

from pandaprobe_otel.api.endpoint import Endpoint, Rate
from pandaprobe_otel.errors import ConfigError

_WINDOW_S: Final = 60.1
"""The server's 60 s, with a margin for clocks that run at different speeds."""
_IN_FLIGHT_POLL_S: Final = 0.05
"""Seconds until the next attempt if every token belongs to a request under way."""
_MAX_WINDOWS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """Requests per minute for each API key. The defaults are the hosted service's; your own server may differ."""

    traces: int = 100
    """POST /traces."""
    runs: int = 50
    """Creating evaluation runs, for each path."""
    trigger: int = 10
    """Triggering a monitor, for each monitor."""
    other: int = 200
    """All other routes, for each path."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a limit that would allow no requests."""
        for each in fields(self):
            if not getattr(self, each.name) > 0:
                raise ConfigError(f"RateLimits: {each.name} must be over 0, not {getattr(self, each.name)!r}.")

    def of(self, rate: Rate) -> int:
        """Return the limit of a class of routes."""
        return {
            Rate.TRACES: self.traces,
            Rate.RUNS: self.runs,
            Rate.TRIGGER: self.trigger,
            Rate.OTHER: self.other,
        }[rate]


@dataclass(frozen=True, slots=True)
class Bucket:
    """Requests that the server counts together: by limit and path, whatever the method or query."""

    path: str
    limit: int


@dataclass(slots=True)
class _Window:
    out: int = 0
    returning: deque[float] = field(default_factory=deque[float])
    closed_until: float = 0.0

    def collect(self, now: float) -> None:
        while self.returning and self.returning[0] <= now:
            self.returning.popleft()

    def is_idle(self, now: float) -> bool:
        self.collect(now)
        return not self.out and not self.returning and self.closed_until <= now


class Budget:
    """Tokens of one credential. Thread-safe. Its methods never wait. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows: dict[Bucket, _Window] = {}

    def take(self, bucket: Bucket, now: float) -> float:
        """Take a token and return 0, or return the seconds to wait before asking again."""
        with self._lock:
            window = self._window(bucket, now)
            window.collect(now)
            if window.closed_until > now:
                return window.closed_until - now
            if window.out + len(window.returning) >= bucket.limit:
                return max(window.returning[0] - now, 0.001) if window.returning else _IN_FLIGHT_POLL_S
            window.out += 1
            return 0.0

    def give_back(self, bucket: Bucket, now: float) -> None:
        """Return the token of a completed request, whatever its outcome. It may be taken again after the window."""
        with self._lock:
            window = self._window(bucket, now)
            window.out = max(window.out - 1, 0)
            window.returning.append(now + _WINDOW_S)

    def close(self, bucket: Bucket, until: float) -> None:
        """Block the bucket until `until`, because the server refused a request for its rate: another client uses the
        key too.
        """
        with self._lock:
            window = self._window(bucket, until)
            window.closed_until = max(window.closed_until, until)

    def _window(self, bucket: Bucket, now: float) -> _Window:
        window = self._windows.get(bucket)
        if window is None:
            if len(self._windows) >= _MAX_WINDOWS:
                self._windows = {kept: each for kept, each in self._windows.items() if not each.is_idle(now)}
            window = self._windows[bucket] = _Window()
        return window


_shared: dict[str, Budget] = {}
_shared_lock = threading.Lock()


def shared_budget(base_url: str, credential: str) -> Budget:
    """Return the budget of a credential, shared by all clients of this process.

    The budget outlives the clients, because the server keeps counting.
    """
    key = hashlib.sha256(f"{base_url}\n{credential}".encode()).hexdigest()
    with _shared_lock:
        return _shared.setdefault(key, Budget())


def bucket_of(endpoint: Endpoint[object], path: str, limits: RateLimits) -> Bucket:
    """Return the bucket in which a request is counted."""
    return Bucket(path, limits.of(endpoint.rate))
