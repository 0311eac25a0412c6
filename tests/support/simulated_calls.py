"""Calls in simulated time: each wait advances the clock, and the answers come from a list."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from pandaprobe_otel.api.call_steps import Connection, Pause, Send, Steps
from pandaprobe_otel.api.endpoint import Scope
from pandaprobe_otel.api.request_budget import Budget, RateLimits
from pandaprobe_otel.transport.request_outcome import Answer, NoAnswer, Outcome, Request

T = TypeVar("T")

BEGUN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LOST = NoAnswer(reason="ReadError", may_have_arrived=True)
REFUSED = NoAnswer(reason="ConnectError", may_have_arrived=False)
LIMITED_BODY = b'{"error":"Rate limit exceeded: 200 per 1 minute"}'


def answer(status: int = 200, body: Any = None, **headers: str) -> Answer:
    """Return an answer with a JSON body; header names have underscores here."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(
        status=status, body=content, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


@dataclass
class Simulation:
    """A client's connection in simulated time (`now`); `server` answers each request."""

    server: Callable[[Request], Outcome]
    timeout_s: float = 60.0
    retries: int = 3
    rate_limits: RateLimits | None = None
    latency_s: float = 0.01
    unavailable: Mapping[Scope, str] = field(default_factory=dict[Scope, str])
    now: float = 0.0
    sent: list[tuple[float, Request]] = field(default_factory=list[tuple[float, Request]])
    pauses: list[float] = field(default_factory=list[float])

    def __post_init__(self) -> None:
        self.connection = Connection(
            base_url="http://simulated",
            unavailable=self.unavailable,
            budgets={scope: Budget() for scope in Scope},
            timeout_s=self.timeout_s,
            retries=self.retries,
            rate_limits=self.rate_limits,
            clock=lambda: self.now,
            now=lambda: BEGUN + timedelta(seconds=self.now),
            uniform=lambda low, high: high,
        )

    def run(self, steps: Steps[T]) -> T:
        """Run a generator of steps."""
        try:
            step = next(steps)
            while True:
                step = steps.send(self._perform(step))
        except StopIteration as end:
            result: T = end.value
            return result

    def _perform(self, step: Send | Pause) -> Outcome | None:
        if isinstance(step, Pause):
            self.pauses.append(step.seconds)
            self.now += step.seconds
            return None
        self.sent.append((self.now, step.request))
        outcome = self.server(step.request)
        self.now += self.latency_s
        return outcome


def in_turn(*outcomes: Outcome) -> Callable[[Request], Outcome]:
    """Return a server that gives these answers in turn, and repeats the last one."""
    left = list(outcomes)

    def serve(request: Request) -> Outcome:
        return left.pop(0) if len(left) > 1 else left[0]

    return serve
