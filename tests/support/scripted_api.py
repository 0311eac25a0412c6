"""An HTTP server that gives scripted answers, each once, and what PandaProbe's API describes."""

from __future__ import annotations

from typing import Any, Final, Self
from uuid import uuid4

from provider_server import ProviderServer, Received, Reply, json_reply

RESET: Final = Reply(reset=True)
FAILED: Final = Reply(chunks=(b"Internal Server Error",), status=500, content_type="text/plain")


class ScriptedApi(ProviderServer):
    """The server, as a context manager; `url` is the endpoint.

    `serve("GET /me", answer, ...)` sets the answers of a route; the last one is repeated.
    """

    def __init__(self) -> None:
        super().__init__()
        self.script = self.answer
        self._answers: dict[str, list[Reply]] = {}

    def serve(self, route: str, *answers: Reply | Any) -> Self:
        """Answer a route with these answers in turn; a plain value is sent as JSON with status 200."""
        self._answers[route] = [each if isinstance(each, Reply) else json_reply(each) for each in answers]
        return self

    def requests(self, route: str) -> list[Received]:
        """Return the requests of a route, in order."""
        return [received for received in self.received if received.route == route]

    def answer(self, received: Received) -> Reply:
        """Return the answer to a request."""
        answers = self._answers.get(received.route, [json_reply({"detail": "Not Found"}, status=404)])
        return answers.pop(0) if len(answers) > 1 else answers[0]


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
