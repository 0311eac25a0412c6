"""An HTTP server that gives scripted answers, each once, and records its requests."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Final, Self
from uuid import uuid4

from provider_server import ProviderServer, Received, Reply


@dataclass(frozen=True, kw_only=True)
class Told:
    """An answer. A string body is sent as it is, any other body as JSON."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    after: Callable[[], object] = lambda: None
    """Called before the answer is sent; it may wait, which delays the answer."""
    reset: bool = False
    """True if the connection is reset after the request was read, instead of an answer."""


RESET: Final = Told(reset=True)
FAILED: Final = Told(status=500, body="Internal Server Error", headers={"Content-Type": "text/plain"})


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request; `at` is monotonic, in seconds, and header names are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: Any
    at: float


class ScriptedApi(ProviderServer):
    """The server, as a context manager; `url` is the endpoint.

    `tell("GET /me", answer, ...)` sets the answers of a route; the last one is repeated.
    """

    def __init__(self) -> None:
        super().__init__()
        self.script = self._reply
        self._lock = threading.Lock()
        self._answers: dict[str, list[Told]] = defaultdict(list)
        self.asked: list[Asked] = []
        self.clock_ahead_s = 0.0
        """Lead of the clock that its Date headers show."""

    def tell(self, route: str, *answers: Told | Any) -> Self:
        """Answer a route with these answers in turn; a plain value is sent as JSON with status 200."""
        with self._lock:
            self._answers[route] = [each if isinstance(each, Told) else Told(body=each) for each in answers]
        return self

    def requests(self, route: str) -> list[Asked]:
        """Return the requests of a route, in order."""
        with self._lock:
            return [asked for asked in self.asked if f"{asked.method} {asked.path}" == route]

    def answer(self, asked: Asked) -> Told:
        """Return the answer to a request."""
        with self._lock:
            self.asked.append(asked)
            answers = self._answers.get(f"{asked.method} {asked.path}")
            if not answers:
                return Told(status=404, body={"detail": "Not Found"})
            return answers.pop(0) if len(answers) > 1 else answers[0]

    def _reply(self, received: Received) -> Reply:
        path, _, query = received.path.partition("?")
        body = received.json if received.body else None
        told = self.answer(
            Asked(
                method=received.method,
                path=path,
                query=query,
                headers=received.headers,
                body=body,
                at=time.monotonic(),
            )
        )
        time.sleep(told.delay_s)
        told.after()
        headers = {"Date": formatdate(time.time() + self.clock_ahead_s, usegmt=True), **told.headers}
        content_type = headers.pop("Content-Type", "application/json")
        content = told.body if isinstance(told.body, str) else json.dumps(told.body)
        return Reply(
            chunks=(content.encode(),),
            status=told.status,
            content_type=content_type,
            headers=headers,
            reset=told.reset,
        )


# -- what the server describes -----------------------------------------------------------------------------------------

_TIME: Final = "2026-01-02T03:04:05+00:00"
_SERVED: Final[dict[str, Any]] = {"created_at": _TIME, "project_id": str(uuid4())}


def served_run(**fields: Any) -> dict[str, Any]:
    """Return a run over one trace as the server describes it."""
    counts = {"total_targets": 1, "evaluated_count": 0, "failed_count": 0}
    run = {"id": str(uuid4()), "name": None, "status": "PENDING", "metric_names": ["coherence"], "target_type": "TRACE"}
    return {**_SERVED, **run, **counts, **fields}


def served_score(**fields: Any) -> dict[str, Any]:
    """Return a score as the server describes it."""
    score = {"id": str(uuid4()), "trace_id": str(uuid4()), "name": "good", "value": "0.5", "status": "SUCCESS"}
    return {**_SERVED, "updated_at": _TIME, **score, "source": "PROGRAMMATIC", "data_type": "NUMERIC", **fields}


def served_monitor(**fields: Any) -> dict[str, Any]:
    """Return a monitor as the server describes it."""
    monitor = {"id": str(uuid4()), "name": "m", "target_type": "TRACE", "metric_names": ["coherence"], "filters": {}}
    return {
        **_SERVED, "updated_at": _TIME, **monitor, "sampling_rate": 1.0, "cadence": "daily", "only_if_changed": True,
        "status": "ACTIVE", **fields,
    }  # fmt: skip
