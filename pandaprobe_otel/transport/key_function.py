"""Requests with an API key that a function of the app supplies, such as one that reads rotated keys from a vault."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pandaprobe_otel.config.parsers import read_key
from pandaprobe_otel.process.guard import ask, failed
from pandaprobe_otel.transport.request_outcome import KeyedTransport, NoAnswer, Outcome, Request, api_key_headers
from pandaprobe_otel.transport.verdict import VerdictKind, judge

_ASK_AGAIN = (VerdictKind.AUTH, VerdictKind.QUOTA)
"""The key is refused, or its plan is used up; another key may work."""


class KeyFunctionTransport:
    """Transport that asks for the key before the first request, and after each answer that a new key could change.

    Only sender threads ask, one at a time and at the pace of their retries. The app's function may block them. Its
    exceptions are counted and logged; the request then waits, or is sent with the last known key. Thread-safe.
    """

    def __init__(self, inner: KeyedTransport, *, ask: Callable[[], str], project_name: str) -> None:
        self._inner = inner
        self._ask = ask
        self._project_name = project_name
        self._lock = threading.Lock()
        self._key: str | None = None
        self._is_stale = True

    def send(self, request: Request) -> Outcome:
        """Send one request with the newest key."""
        if self._is_stale and not self._renew():
            return NoAnswer(reason="the function that gives the API key failed", may_have_arrived=False)
        outcome = self._inner.send(request)
        if judge(outcome).kind in _ASK_AGAIN:
            self._is_stale = True
        return outcome

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()

    def reset_after_fork(self) -> None:
        """Replace the lock in a forked child, because a thread of the parent may have held the old one."""
        self._lock = threading.Lock()
        self._inner.reset_after_fork()

    def _renew(self) -> bool:
        """Ask for the key; return True if one is known."""
        with self._lock:
            if not self._is_stale:
                return True  # another thread has asked in the meantime
            try:
                key = read_key(ask(self._ask))
            except Exception as error:  # noqa: BLE001 - the app's function ran; counted and logged
                failed("api_key", error)
                return self._key is not None
            if key != self._key:
                self._inner.use(api_key_headers(key, self._project_name))
                self._key = key
            self._is_stale = False
            return True
