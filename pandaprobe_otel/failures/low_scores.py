"""Low scores: the metric, and the parts of the trace that its reason names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pandaprobe_otel.failures.broken_answers import requested_tools
from pandaprobe_otel.failures.calls import offered_tools
from pandaprobe_otel.failures.finding import FailureKind, Finding
from pandaprobe_otel.traces.records import TraceRecord

FAILING: Final = 0.5
"""Scores below it count as failures. Tests have the same default threshold."""
_READ: Final = 8000


def is_low(value: object) -> bool:
    """Return whether a score's value counts as a failure: a number below 0.5, or false."""
    try:
        return float(str(value)) < FAILING
    except ValueError:
        return str(value).lower() == "false"


def judged(trace: TraceRecord, scores: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield a finding for each low score. `scores` are the latest of each name, in the form of the API."""
    for score in scores:
        if score.get("value") is None or score.get("data_type") == "CATEGORICAL" or not is_low(score["value"]):
            continue
        metric, reason = str(score.get("name", "")), str(score.get("reason") or "")
        about = _named_in(reason, _tools(trace)) or sorted(
            {step.role for step in trace.spans if step.kind == "RETRIEVER"}
        )
        title = f"{metric} is low" + (f": {', '.join(about)}" if about else "")
        text = f"{score['value']}: {' '.join(reason.split())}"[:160]
        yield Finding.of(FailureKind.JUDGED, None, title, text, metric=metric, about=", ".join(about))


def _tools(trace: TraceRecord) -> set[str]:
    names: set[str] = set()
    for step in trace.spans:
        if step.kind == "TOOL":
            names.add(step.role)
        elif step.kind == "LLM":
            names |= offered_tools(step)
            names.update(requested_tools(step))
    return names


def _named_in(reason: str, names: Iterable[str]) -> list[str]:
    reason = reason[:_READ].lower()
    return sorted(
        name
        for name in names
        if name.lower() in reason and re.search(rf"(?<!\w){re.escape(name.lower())}(?!\w)", reason)
    )
