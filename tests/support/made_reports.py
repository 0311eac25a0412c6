"""Reports of evaluations with given scores, as `evaluate()` and pytest make them."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel.evals import CaseResult, MetricResult, Report
from pandaprobe_otel.evals.verdicts import Finding, Judgement

BEGAN: Final = "2026-01-01T00:00:00Z"
TRACE: Final[dict[str, Any]] = {
    "trace_id": "0af76519-16cd-43dd-8448-eb211c80319c",
    "name": "t",
    "started_at": BEGAN,
    "ended_at": "2026-01-01T00:00:01Z",
    "spans": [
        {
            "span_id": "1",
            "name": "look<up>",
            "kind": "TOOL",
            "status": "ERROR",
            "error": "no <b>order</b>",
            "input": {"number": "A-17"},
            "started_at": BEGAN,
            "ended_at": "2026-01-01T00:00:01Z",
            "token_usage": {"prompt_tokens": 1200, "completion_tokens": 34},
            "cost": {"total": 0.0125},
        }
    ],
}
"""A trace with a failed tool whose name and error look like HTML."""


def score(value: float | None, metric: str = "m", reason: str = "said", finding: str = "scored") -> MetricResult:
    """Return a score with a threshold of 0.5; None stands for a metric that was not judged."""
    judgement = Judgement(finding=Finding(finding if value is not None else "error"), value=value, reason=reason)
    return MetricResult(metric=metric, threshold=0.5, runs=((judgement,),))


def case(name: str, *values: float | None, reason: str = "said", **fields: Any) -> CaseResult:
    """Return a case with these scores of the metric `m`."""
    return CaseResult(id=name, **{"results": tuple(score(value, reason=reason) for value in values), **fields})


def report(*cases: CaseResult, **fields: Any) -> Report:
    """Return a report of these cases."""
    return Report(**{"name": "shop", "created_at": "2026-01-01T00:00:00+00:00", **fields}, cases=cases)


def reports_of(before: float, after: float, count: int = 6, metric: str = "m") -> tuple[Report, Report]:
    """Return the reports of two runs whose cases all have the first score, and all the second."""

    def of(value: float) -> Report:
        return report(*(case(f"c{n}", results=(score(value, metric),)) for n in range(count)))

    return of(before), of(after)
