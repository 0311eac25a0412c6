"""Vacuous scores: best scores that were given because there was nothing to judge.

A metric that finds nothing to judge gives the best score instead of none. The coherence of an empty answer is 1.0,
and so is the reliability of a session whose traces cannot be evaluated (measured on server 0.5.0). Such scores pass any
threshold. They are recognized by their metadata and reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast

from pandaprobe_otel.api.models import Score

_REASONS: Final = re.compile(
    r"coherence assumed"
    r"|no evaluable traces"
    r"|nothing to (?:evaluate|judge|assess|compare)"
    r"|no plan (?:found|was found|is present|present)"
    r"|no tool calls? (?:in|were|was|found|made|to)"
    r"|cannot be assessed"
    r"|no previous (?:outputs|traces)",
    re.IGNORECASE,
)
_EVIDENCE: Final = ("verdicts", "plan")
"""Metadata keys of the judge's findings, for metrics that search for something."""


def vacuous_reason(score: Score) -> str | None:
    """Return the reason why a score is vacuous; None if there was something to judge, or it is not the best score."""
    value = score.parsed
    return reason_of_vacuity(value, score.reason, score.metadata) if isinstance(value, float) else None


def reason_of_vacuity(value: float, reason: str | None, metadata: Mapping[str, Any]) -> str | None:
    """Return the reason why a score that is not from a server is vacuous; None if it is not."""
    if value < 1.0:
        return None
    said = reason or "no reason given"
    if "note" in metadata:
        return f"{metadata['note']}: {said}"
    if any(metadata.get(name) == [] for name in _EVIDENCE) or _REASONS.search(said):
        return said
    return _without_signals(metadata)


def _without_signals(metadata: Mapping[str, Any]) -> str | None:
    """Return why a session's score lacks evidence: missing signals of its traces count as no risk."""
    signals: Any = metadata.get("per_trace_signals")
    if metadata.get("traces_evaluated") == 0:
        return "no trace of the session was evaluated"
    if not isinstance(signals, dict):
        return None
    values = [value for trace in cast("Mapping[str, Mapping[str, Any]]", signals).values() for value in trace.values()]
    return None if any(values) else "no trace of the session gave a signal"
