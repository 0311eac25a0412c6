"""Live sessions: a model that speaks and listens at the same time delegates tasks, whose answers are calls.

The speech itself has no turns: the service reports neither where an answer starts or ends, nor its tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pandaprobe_otel_integrations._json import from_json, to_json
from pandaprobe_otel_integrations._live_calls import LiveCall
from pandaprobe_otel_integrations._openai_protocol.decisions import Decisions
from pandaprobe_otel_integrations._openai_protocol.responses import Responses
from pandaprobe_otel_integrations._seen_ids import SeenIds
from pandaprobe_otel_integrations._shape import Object, obj, string

LAST: Final = frozenset({"response.completed", "response.incomplete", "response.failed", "error"})
_RESPONSES: Final = Responses()
_DECISIONS: Final = Decisions()
_READ: Final = ("response.event", "decision.event", "session.input_transcript.delta", "session.started", "session.upda")
_MAX_TASKS: Final = 1000
_MAX_HEARD: Final = 50_000
"""Largest number of characters kept since the last task. Of longer text, the latest characters are kept."""
_seen: Final = SeenIds()
"""Ids of recorded responses: several connections may observe one session."""


class LiveSession:
    """The tasks of one connection. `turn` makes the recorder of a task."""

    def __init__(self, turn: Callable[[], LiveCall]) -> None:
        self._turn = turn
        self._tasks: dict[str | None, LiveCall] = {}
        self._setup: Object = {}
        self._heard = ""

    def sent(self, message: Any) -> None:
        """Ignore the app's message; the service repeats its text."""

    def received(self, message: Any) -> None:
        """Record a message of the service, in most cases sound."""
        text = message if isinstance(message, str) else bytes(message).decode()
        if not any(kind in text for kind in _READ):
            return
        event = obj(from_json(text))
        kind = event.get("type")
        if kind in ("session.started", "session.updated"):
            self._setup = obj(obj(event.get("session")).get("delegation"))
        elif kind == "session.input_transcript.delta":
            self._heard = (self._heard + (string(event.get("delta")) or ""))[-_MAX_HEARD:]
        elif kind == "response.event":
            self._respond(string(event.get("delegation_id")), obj(event.get("event")))
        elif kind == "decision.event":
            self._decide(obj(obj(event.get("event")).get("decision")))

    def broken(self, error: Exception) -> None:
        """Record that the connection is lost, or closed by the service."""
        for turn in self._tasks.values():
            turn.broken(error)

    def closed(self) -> None:
        """Record that the app closes the connection."""
        for turn in self._tasks.values():
            turn.end("closed")
        self._tasks.clear()

    def _respond(self, task: str | None, event: Object) -> None:
        kind = event.get("type")
        if kind == "response.created" and len(self._tasks) < _MAX_TASKS:
            response = obj(event.get("response"))
            if not _seen.is_first(string(response.get("id"))):
                return
            asked = {**obj(self._setup.get("responses")), "model": response.get("model"), "stream": True}
            self._tasks[task] = self._turn()
            self._tasks[task].begin(_RESPONSES, {**asked, "input": self._take_transcript()})
        turn = self._tasks.get(task)
        if turn is None:
            return
        turn.keep(to_json(event).encode())
        if kind in LAST:
            turn.end("terminal")
            del self._tasks[task]

    def _decide(self, decision: Object) -> None:
        asked = {**obj(self._setup.get("decisions")), "model": decision.get("model")}
        turn = self._turn()
        turn.begin(_DECISIONS, {**asked, "input": self._take_transcript()})
        turn.keep(to_json(decision).encode())
        turn.end("terminal")

    def _take_transcript(self) -> str | None:
        heard, self._heard = self._heard, ""
        return heard or None
