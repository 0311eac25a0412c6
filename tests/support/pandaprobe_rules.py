"""The rules of PandaProbe that delivery depends on, for the strict server on a port and for the simulated one.

A window of the limit opens with the first hit, an accepted trace becomes visible a little later, and appends need a
visible trace.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

LIMIT: Final = 100
WINDOW_S: Final = 60.0
RATE_BODY: Final = {"error": "Rate limit exceeded: 100 per 1 minute"}
QUOTA_BODY: Final = {"detail": "You've reached the traces limit (100) for your HOBBY plan. Please upgrade to continue."}


class Window(StrEnum):
    """Kinds of the server's rate limit windows for POST /traces."""

    FIXED = "fixed"
    """Opens with the first hit."""
    CALENDAR = "calendar"
    """Begins with the minute."""
    MOVING = "moving"
    """Counts the accepted hits of the last minute."""


@dataclass(slots=True)
class Limiter:
    """The limit of requests in a window."""

    window: Window = Window.FIXED
    limit: int = LIMIT
    window_s: float = WINDOW_S
    _end: float = -math.inf
    _count: int = 0
    _accepted: deque[float] = field(default_factory=deque[float])

    def hit(self, now: float) -> bool:
        """Count a request; return False if it is refused."""
        if self.window is Window.MOVING:
            while self._accepted and self._accepted[0] <= now - self.window_s:
                self._accepted.popleft()
            if len(self._accepted) >= self.limit:
                return False
            self._accepted.append(now)
            return True
        if now >= self._end:
            start = now if self.window is Window.FIXED else math.floor(now / self.window_s) * self.window_s
            self._end, self._count = start + self.window_s, 0
        self._count += 1
        return self._count <= self.limit


@dataclass(slots=True, kw_only=True)
class Stored:
    """An accepted trace; spans by id."""

    visible_at: float
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    spans: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    created_by: list[str] = field(default_factory=list[str])
    """The sender of each accepted POST /traces (each is billed)."""

    def put(self, span: Mapping[str, Any]) -> None:
        """Insert or update a span; its parent is never updated after the first insert (measured)."""
        old = self.spans.get(span["span_id"], span)
        self.spans[span["span_id"]] = {**span, "parent_span_id": old.get("parent_span_id")}


class Rules:
    """The stored traces and scores, and what each request does to them. Not thread-safe."""

    def __init__(self, limiter: Limiter, persist_lag_s: float) -> None:
        self._limiter = limiter
        self._persist_lag_s = persist_lag_s
        self.traces: dict[str, Stored] = {}
        self.scores: list[dict[str, Any]] = []

    def carry_out(self, method: str, path: str, body: Any, now: float, who: str = "") -> tuple[int, Any]:
        """Do what a request says; return the status and the body of the answer."""
        if (method, path) == ("POST", "/traces"):
            return self._create(body, now, who)
        if (method, path) == ("POST", "/evaluations/trace-scores"):
            self.scores.append(body)
            return 201, {}
        _, room, name, *_ = [*path.split("/"), ""]
        if room == "evaluations":
            return 200, [one for one in self.scores if one["trace_id"] == path.rpartition("/")[2]]
        trace = self.traces.get(name)
        if trace is None or now < trace.visible_at:
            return 404, {"detail": f"Trace {name} not found."}
        if method == "POST":
            for span in body:
                trace.put(span)
            return 201, {"span_ids": [span["span_id"] for span in body]}
        if method == "PATCH":
            trace.fields.update(body)
        return 200, {**trace.fields, "spans": list(trace.spans.values())}

    def _create(self, body: Any, now: float, who: str) -> tuple[int, Any]:
        if len(body.get("spans", ())) > 500:
            error = {"field": "spans", "message": "List should have at most 500 items after validation"}
            return 422, {"detail": "Validation error", "errors": [error]}
        if not self._limiter.hit(now):
            return 429, RATE_BODY
        trace = self.traces.setdefault(body["trace_id"], Stored(visible_at=now + self._persist_lag_s))
        trace.created_by.append(who)
        trace.fields.update((key, value) for key, value in body.items() if key != "spans")
        for span in body.get("spans", ()):
            trace.put(span)
        return 202, {"trace_id": body["trace_id"], "task_id": "t"}
