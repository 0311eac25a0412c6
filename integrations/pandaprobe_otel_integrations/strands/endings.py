"""Ends of runs and tools that neither succeed nor fail, but that Strands' spans record as successes."""

from __future__ import annotations

import sys
from typing import Any, Final

from opentelemetry.trace import get_current_span

from pandaprobe_otel.mapping.attributes import CANCELLED, INTERRUPTED, OUTCOME
from pandaprobe_otel.mapping.outcomes import outcome_of

_STOPS: Final = {"interrupt": INTERRUPTED, "cancelled": CANCELLED}


def record_end_of_agent(span: Any, response: Any = None, error: BaseException | None = None, **_: Any) -> None:
    """Record the end of an agent's run from the reason in its result."""
    _set_outcome(span, _STOPS.get(str(getattr(response, "stop_reason", None))) if error is None else outcome_of(error))


def record_cancellation(span: Any, cancellation: BaseException) -> None:
    """Record that a run was cancelled, or that the app has left its stream."""
    _set_outcome(span, outcome_of(cancellation))


def record_end_of_tool(span: Any, tool_result: Any, error: BaseException | None = None, **_: Any) -> None:
    """Record the end of a tool. It has no result if it waits for a person, or if the app has left the run."""
    left = sys.exc_info()[1]
    if tool_result is None and error is None and left is not None and OUTCOME not in getattr(span, "attributes", {}):
        _set_outcome(span, outcome_of(left))


def record_interrupt() -> None:
    """Mark the current run as interrupted for a person's answer."""
    _set_outcome(get_current_span(), INTERRUPTED)


def _set_outcome(span: Any, outcome: str | None) -> None:
    if outcome and span is not None:
        span.set_attribute(OUTCOME, outcome)
