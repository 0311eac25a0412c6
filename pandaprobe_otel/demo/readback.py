"""Reading of a session's traces through PandaProbe's HTTP API."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

from pandaprobe_otel.errors import AuthError, ServerError
from pandaprobe_otel.transport.request_outcome import Answer, Request, Transport
from pandaprobe_otel.transport.verdict import VerdictKind, judge

T = TypeVar("T")


def read_session(transport: Transport, session_id: str) -> list[dict[str, Any]]:
    """Return the traces of a session with their spans; an empty list until the server knows the session.

    Raises AuthError if the key is refused, and ServerError for any other unexpected answer.
    """
    path = f"/sessions/{quote(session_id, safe='')}?limit=200"
    outcome = transport.send(Request(method="GET", path=path))
    verdict = judge(outcome)
    if verdict.kind is VerdictKind.NOT_FOUND:
        return []
    if verdict.kind is VerdictKind.AUTH:
        raise AuthError(f"The session cannot be read: {verdict.message}.", status=verdict.status)
    if not isinstance(outcome, Answer) or verdict.kind is not VerdictKind.DELIVERED:
        raise ServerError(f"The session cannot be read: {verdict.message}.", status=verdict.status)
    traces: list[dict[str, Any]] = json.loads(outcome.body)["traces"]
    return traces


def wait_until(
    look: Callable[[], T],
    enough: Callable[[T], bool],
    *,
    timeout_s: float,
    clock: Callable[[], float],
    sleep: Callable[[float], object],
) -> T:
    """Look repeatedly until the result is enough or the time is over. Return the last result."""
    end = clock() + timeout_s
    while True:
        seen = look()
        if enough(seen) or clock() >= end:
            return seen
        sleep(0.3)  # The server allows 200 requests a minute for one path.
