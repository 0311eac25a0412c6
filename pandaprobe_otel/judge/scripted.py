"""Scripted judge without any model, for tests of code that evaluates."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pandaprobe_otel.judge.judge import OPENAI, Judge, JudgeError, Provider, Question
from pandaprobe_otel.judge.metrics import SIGNALS, TRACE_METRICS

GARBAGE: Final = "FAKE_LLM_GARBAGE"
"""Text in a trace that makes the judge's answer unusable."""

Score = float | Sequence[float] | Callable[[Mapping[str, Any]], float]

_MODEL: Final = "openai/fake-judge"
_NO_JSON: Final = "LLM call to {model} failed after 3 attempts: Expecting value: line 1 column 1 (char 0)"
_DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "confidence": {"score": 0.95, "reason": "fake confidence"},
    "task_completion": {
        "score": 0.9,
        "reason": "fake verdict",
        "task": "fake task",
        "outcome": "fake outcome",
    },
    "tool_correctness": {
        "score": 0.85,
        "reason": "fake verdict",
        "user_input": "fake input",
        "tools_called": [],
        "available_tools": [],
    },
    "argument_correctness": {
        "user_input": "fake input",
        "verdicts": [{"tool": "fake tool", "verdict": "yes", "reason": None}],
        "reason": "fake verdict",
    },
    "step_efficiency": {"score": 0.88, "reason": "fake verdict", "task": "fake task"},
    "plan_adherence": {"score": 0.8, "reason": "fake verdict", "task": "fake task", "plan": ["fake step"]},
    "plan_quality": {"score": 0.75, "reason": "fake verdict", "task": "fake task", "plan": ["fake step"]},
}
_SETTABLE: Final = frozenset({*TRACE_METRICS, *SIGNALS})


class ScriptedJudge(Judge):
    """Judge that always gives the same answers, or those set by `set`. Its embeddings are bags of words.

    The default scores are those of the scripted model with which the contract of server 0.5.0 was recorded.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scores: dict[str, tuple[Score, str]] = {}
        self._failures: dict[str, str] = {}
        self._used: dict[str, int] = {}
        self.active = False

    def set(self, metric: str, score: Score, reason: str = "set by the test") -> None:
        """Give this score for a metric (or session signal) from now on.

        A sequence gives its numbers in order and then repeats the last one. A function gets the trace as an object.
        """
        self._check(metric)
        with self._lock:
            self.active = True
            self._failures.pop(metric, None)
            self._scores[metric] = (score, reason)
            self._used[metric] = 0

    def fail(self, metric: str, message: str = "set to fail by the test") -> None:
        """Fail a metric from now on."""
        self._check(metric)
        with self._lock:
            self.active = True
            self._failures[metric] = message

    def clear(self) -> None:
        """Forget every `set` and `fail`."""
        with self._lock:
            self._scores.clear()
            self._failures.clear()

    @property
    def provider(self) -> Provider | None:
        """OpenAI, because the contract was recorded with an OpenAI-compatible endpoint."""
        return OPENAI

    def model(self, requested: str | None) -> str:
        """Return the requested model, or the scripted one's name."""
        return requested or _MODEL

    def forced(self, metric: str, trace: Mapping[str, Any]) -> tuple[float, str] | None:
        """Return the score and the reason that were set. Raises JudgeError for a metric that was set to fail."""
        with self._lock:
            if metric in self._failures:
                raise JudgeError(self._failures[metric])
            if metric not in self._scores:
                return None
            score, reason = self._scores[metric]
            used = self._used[metric]
            self._used[metric] = used + 1
        if not callable(score) and not isinstance(score, int | float):
            score = score[min(used, len(score) - 1)]
        return float(score(trace) if callable(score) else score), reason

    def ask(self, question: Question, model: str | None) -> Mapping[str, Any]:
        """Return the fixed answer of a metric."""
        if GARBAGE in question.prompt:
            raise JudgeError(_NO_JSON.format(model=self.model(model)))
        return _DEFAULTS[question.metric]

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]] | None:
        """Return the sum of each text's words. A word's vector is the first half of its SHA-256."""
        return [_bag_of_words(text) for text in texts]

    def _check(self, metric: str) -> None:
        if metric not in _SETTABLE:
            raise ValueError(f"{metric!r} must be one of {', '.join(sorted(_SETTABLE))}")


def _bag_of_words(text: str) -> list[float]:
    vector = [0.0] * 16
    for word in re.findall(r"\w+", text.lower()):
        for position, byte in enumerate(hashlib.sha256(word.encode()).digest()[:16]):
            vector[position] += byte
    return vector
