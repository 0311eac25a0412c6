"""Recorded answers of a real server (0.5.0) by method and path, and a check of what each MCP tool makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from pandaprobe_otel.transport.outcome import Answer, Request

CASSETTES: Final = Path(__file__).parents[1] / "api" / "cassettes"
TRACE: Final = "ca55e77e-0000-4000-8000-000000000001"
OTHERS: Final = ("ca55e77e-0000-4000-8000-000000000003", "ca55e77e-0000-4000-8000-000000000002")
SESSION: Final = "s1"
RUN: Final = "ba343234-f98f-4b5d-9e90-eadee9047db4"
_SCORE: Final = "b5f175b6-fcdb-4a05-b03c-8f899bc85834"
_NAMES: Final = ("traces_list_filters", "trace_get", "sessions", "scores_crud", "eval_run_judge", "session_run")

GIVES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "find_failures": lambda made: made == {"groups": [], "total": 0, "next": None},
    "find_traces": lambda made: made["trace_ids"] == [OTHERS[0], TRACE, OTHERS[1]],
    "get_trace": lambda made: made == {"spans": 3, "shown": 3, "failed": [], "next": None},
    "compare_traces": lambda made: made == {"differing": 0},
    "get_session": lambda made: (made["turns"], made["failed"]) == (2, [OTHERS[1]]),
    "get_scores": lambda made: made == {"scores": 3},
    "doctor": lambda made: made["problems"] == [],
    "add_score": lambda made: made == {"id": _SCORE},
    # Answers cannot be rebuilt, since the recorded model calls name no provider.
    "capture_test": lambda made: made == {"code": "refused", "next": "choose another trace"},
}
"""For each tool, a check of the numbers that it derives from the recorded answers."""


class HostedAnswers:
    """The longest recorded answer to each method and path: for a list, the one with the most rows."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str], Answer] = {}
        for name in _NAMES:
            loaded: Any = yaml.safe_load((CASSETTES / f"{name}.yaml").read_text(encoding="utf-8"))
            for one in loaded["interactions"]:
                self._take(one["request"], one["response"])

    def _take(self, request: Mapping[str, Any], response: Mapping[str, Any]) -> None:
        key = (request["method"], "/" + request["uri"].split("/", 3)[3].partition("?")[0])
        body = response["body"]["string"]
        content = body.encode() if isinstance(body, str) else body
        before = self._answers.get(key)
        if response["status"]["code"] < 300 and (before is None or len(content) >= len(before.body)):
            self._answers[key] = Answer(status=response["status"]["code"], body=content)

    def to(self, request: Request) -> Answer:
        """Return the answer to a request, ignoring its query."""
        key = (request.method, request.path.partition("?")[0])
        if key[1].startswith("/evaluations/trace-scores/"):
            return self._answers.get(key, Answer(status=200, body=b"[]"))  # [] for a trace without scores
        return self._answers.get(key, Answer(status=404, body=b'{"detail": "Not Found"}'))
