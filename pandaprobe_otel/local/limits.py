"""Rate limits: a fixed window per credential and path that opens at the first hit.

Measured on server 0.5.0: the window is not aligned to the clock. Refused requests are counted but do not extend it. The
credential is the bearer token, or else the API key, or else the client's address.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

DEFAULT_LIMIT: Final = 200
"""Requests per minute for each path without its own limit."""

OWN_LIMITS: Final[Mapping[tuple[str, str], int]] = {
    ("POST", "/traces"): 100,
    ("POST", "/evaluations/trace-runs"): 50,
    ("POST", "/evaluations/trace-runs/batch"): 50,
    ("POST", "/evaluations/trace-runs/{run_id}/retry"): 50,
    ("POST", "/evaluations/session-runs"): 50,
    ("POST", "/evaluations/session-runs/batch"): 50,
    ("POST", "/evaluations/session-runs/{run_id}/retry"): 50,
    ("POST", "/evaluations/monitors/{monitor_id}/trigger"): 10,
}
"""Limits of routes that are counted after authentication and validation, not before."""

_SWEEP_ABOVE = 10_000


class RateLimitedError(Exception):
    """The limit of this window is used up."""

    def __init__(self, limit: int, retry_after_s: float) -> None:
        super().__init__(f"Rate limit exceeded: {limit} per 1 minute")
        self.retry_after_s = retry_after_s


@dataclass(slots=True)
class _Window:
    opened: float
    hits: int


class RateLimits:
    """The server's table of limits, and the counts of requests. Sweeping closed windows bounds the memory.

    `traces_per_minute` replaces the 100 of `POST /traces`. None disables every limit.
    """

    def __init__(
        self,
        *,
        window_s: float = 60.0,
        traces_per_minute: int | None = 100,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._window_s = window_s
        self._traces_per_minute = traces_per_minute
        self._monotonic = monotonic
        self._windows: dict[tuple[str, str, int], _Window] = {}
        self._lock = threading.Lock()

    def spend(self, request: Request, route: tuple[str, str]) -> None:
        """Count a request of a route. Raises RateLimitedError if its bucket was full already."""
        if self._traces_per_minute is None:
            return
        limit = self._traces_per_minute if route == ("POST", "/traces") else OWN_LIMITS.get(route, DEFAULT_LIMIT)
        key, now = (credential_of(request), request.url.path, limit), self._monotonic()
        with self._lock:
            window = self._windows.get(key)
            if window is None or now - window.opened >= self._window_s:
                if len(self._windows) > _SWEEP_ABOVE:
                    self._windows = {at: one for at, one in self._windows.items() if now - one.opened < self._window_s}
                self._windows[key] = _Window(now, 1)
                return
            window.hits += 1
            if window.hits > limit:
                raise RateLimitedError(limit, window.opened + self._window_s - now)


def credential_of(request: Request) -> str:
    """Return the credential to count by: a hash of the bearer token or API key, or the client's address."""
    authorization = request.headers.get("authorization", "")
    if authorization[:7].lower() == "bearer ":
        return _hashed(authorization[7:].strip())
    if key := request.headers.get("x-api-key"):
        return _hashed(key)
    return request.client.host if request.client else ""


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
