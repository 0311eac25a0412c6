"""The page that compares two traces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from pandaprobe_otel.local.pages.access import signed_in
from pandaprobe_otel.local.pages.navigation import context_of
from pandaprobe_otel.local.pages.rendering import page
from pandaprobe_otel.local.pages.trace_pages import load_trace
from pandaprobe_otel.traces.comparison import diff_payloads, paired_spans
from pandaprobe_otel.traces.records import TraceRecord

router = APIRouter(prefix="/ui", include_in_schema=False, dependencies=[Depends(signed_in)])


@router.get("/diff")
def show_diff(request: Request, trace: Annotated[list[UUID] | None, Query()] = None) -> Response:
    """Show two traces: common spans, spans that only one has, and the differences."""
    chosen = trace or []
    loaded = [load_trace(request, trace_id) for trace_id in chosen[:2]]
    if len(loaded) != 2 or loaded[0] is None or loaded[1] is None:
        return page("diff.html", context=context_of(request, None, "traces"), pair=None, chosen=len(chosen))
    left, right = loaded[0], loaded[1]
    return page(
        "diff.html",
        context=left.context,
        pair=(left, right),
        chosen=2,
        rows=paired_spans(left.record, right.record),
        totals=(_totals(left.record), _totals(right.record)),
        payloads=[(name, diff_payloads(left.trace[name], right.trace[name])) for name in ("input", "output")],
        scores=_scores(left.scores, right.scores),
    )


def _totals(record: TraceRecord) -> dict[str, float]:
    return {
        "duration_ms": record.length_ms,
        "spans": len(record.spans),
        "tokens": record.body["total_tokens"],
        "cost": record.body["total_cost"],
        "errors": sum(span.failed for span in record.spans),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorePair:
    """Scores of both traces for a metric. `change` is None unless both are numbers."""

    name: str
    left: str | None
    right: str | None
    change: float | None


def _scores(left: list[dict[str, Any]], right: list[dict[str, Any]]) -> list[ScorePair]:
    a = {score["name"]: score for score in left}
    b = {score["name"]: score for score in right}
    return [_pair(name, a.get(name), b.get(name)) for name in sorted({*a, *b})]


def _pair(name: str, left: dict[str, Any] | None, right: dict[str, Any] | None) -> ScorePair:
    before, after = _number(left), _number(right)
    return ScorePair(
        name=name,
        left=None if left is None else left["value"],
        right=None if right is None else right["value"],
        change=None if before is None or after is None else after - before,
    )


def _number(score: dict[str, Any] | None) -> float | None:
    if score is None or score["value"] is None or score["data_type"] != "NUMERIC":
        return None
    return float(score["value"])
