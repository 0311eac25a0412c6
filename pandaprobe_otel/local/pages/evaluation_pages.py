"""The pages of evaluation: metrics over time, runs with their scores, and monitors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from pandaprobe_otel.api.fields import AnalyticsGranularity
from pandaprobe_otel.local.pages.access import signed_in
from pandaprobe_otel.local.pages.charts import HEIGHT, SMALLEST_SHARE, WIDTH, Plot, columns_of
from pandaprobe_otel.local.pages.navigation import Context, context_of, plain
from pandaprobe_otel.local.pages.rendering import page
from pandaprobe_otel.local.pages.trace_pages import PAGE_SIZE
from pandaprobe_otel.local.search.language import search_for_score
from pandaprobe_otel.local.store.monitors import monitor_record
from pandaprobe_otel.local.store.records import record
from pandaprobe_otel.local.store.score_analytics import ScoreAnalytics

router = APIRouter(prefix="/ui", include_in_schema=False, dependencies=[Depends(signed_in)])

Of = Literal["traces", "sessions"]
_COLUMNS = 10


@router.get("/evaluations")
def show_evaluations(
    request: Request,
    project: str | None = None,
    of: Of = "traces",
    by: AnalyticsGranularity = "hour",
    offset: Annotated[int, Query(ge=0, le=2**62)] = 0,
) -> Response:
    """Show each metric's scores over time, and the runs."""
    context = context_of(request, project, "evaluations")
    services = context.services
    analytics = services.trace_score_analytics if of == "traces" else services.session_score_analytics
    rows, total = services.evaluation.runs.find(context.project_id, limit=PAGE_SIZE, offset=offset)
    return page(
        "evaluations.html",
        context=context,
        of=of,
        by=by,
        metrics=_metrics(context, analytics, of, by),
        runs=[plain(record(row)) for row in rows],
        total=total,
        offset=offset,
        page_size=PAGE_SIZE,
        width=WIDTH,
        height=HEIGHT,
        provider=services.evaluation.judge.provider,
    )


@router.get("/runs/{run_id}")
def show_run(request: Request, run_id: UUID, project: str | None = None) -> Response:
    """Show a run and its scores, lowest first."""
    context = context_of(request, project, "evaluations")
    evaluation = context.services.evaluation
    row = evaluation.runs.get(context.project_id, str(run_id))
    if row is None:
        return page("missing.html", status=404, context=context, what=f"run {run_id}")
    run = plain(record(row))
    store = evaluation.session_scores if run["target_type"] == "SESSION" else evaluation.trace_scores
    scores = [plain(store.record(score)) for score in store.of_run(context.project_id, str(run_id))]
    scores.sort(key=lambda score: (score["value"] is not None, _number(score), score["name"]))
    averages = [(name, average, count, search_for_score(name)) for name, average, count in _averages(scores)]
    return page("run.html", context=context, run=run, scores=scores, averages=averages)


@router.get("/monitors")
def show_monitors(request: Request, project: str | None = None) -> Response:
    """Show the monitors of a project."""
    context = context_of(request, project, "monitors")
    rows, total = context.services.evaluation.monitors.find(context.project_id, status=None, limit=200, offset=0)
    return page(
        "monitors.html",
        context=context,
        monitors=[plain(monitor_record(row)) for row in rows],
        total=total,
    )


def _metrics(context: Context, analytics: ScoreAnalytics, of: Of, by: AnalyticsGranularity) -> list[dict[str, Any]]:
    project_id = context.project_id

    def link(name: str, *terms: str) -> str:
        """Return the address of the traces with such scores; empty if no search finds them, as for sessions."""
        every = search_for_score(name)
        if of == "sessions" or every is None:
            return ""
        key = every.removesuffix(">=0")
        return context.link("/ui", q=" ".join(f"{key}{term}" for term in terms or (">=0",)))

    metrics = analytics.summary(project_id, None, None)
    for metric in metrics:
        name = metric["metric_name"]
        over_time = analytics.trend(project_id, name, None, None, by)
        counts = [0] * _COLUMNS
        for found in analytics.distribution(project_id, name, None, None, _COLUMNS):
            counts[min(found["bucket"], _COLUMNS) - 1] += found["count"]
        metric["link"] = link(name)
        metric["plots"] = [_means(name, over_time, by), _distribution(name, counts, link)] if over_time else []
    return metrics


def _means(name: str, buckets: Sequence[Mapping[str, Any]], by: str) -> Plot:
    when = [bucket["bucket"][:16].replace("T", " ") for bucket in buckets]
    columns = [
        (max(one["avg_score"], SMALLEST_SHARE), f"{at}: {one['avg_score']:.3f} ({one['count']} scores)", "")
        for at, one in zip(when, buckets, strict=True)
    ]
    return Plot(
        title=f"Average {name} by {by}",
        measure=f"mean by {by}",
        top="1",
        columns=columns_of(columns, 1.0),
        first=when[0],
        last=when[-1] if len(when) > 1 else "",
    )


def _distribution(name: str, counts: Sequence[int], link: Callable[..., str]) -> Plot:
    columns: list[tuple[float, str, str]] = []
    for at, count in enumerate(counts):
        low, high = at / _COLUMNS, (at + 1) / _COLUMNS
        terms = (f">={low:g}", *(() if high >= 1 else (f"<{high:g}",)))
        columns.append((count, f"{low:.1f} to {high:.1f}: {count}", link(name, *terms)))
    return Plot(
        title=f"Distribution of {name}",
        measure="scores by value",
        top=str(max(counts)),
        columns=columns_of(columns, max(counts)),
        first="0",
        last="1",
    )


def _number(score: dict[str, Any]) -> float:
    if score["data_type"] != "NUMERIC" or score["value"] is None:
        return 0.0
    return float(score["value"])


def _averages(scores: list[dict[str, Any]]) -> list[tuple[str, float, int]]:
    groups: dict[str, list[float]] = {}
    for score in scores:
        if score["value"] is not None and score["data_type"] == "NUMERIC":
            groups.setdefault(score["name"], []).append(float(score["value"]))
    return [(name, sum(values) / len(values), len(values)) for name, values in sorted(groups.items())]
