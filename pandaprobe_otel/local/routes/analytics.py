"""Analytics of traces, sessions and scores."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from pandaprobe_otel.api.fields import AnalyticsGranularity, AnalyticsMetric
from pandaprobe_otel.local.auth import ProjectScope, Scope
from pandaprobe_otel.local.routing import ApiRoute, RequiredMoment, Since, answer, listed, page_up_to
from pandaprobe_otel.local.store import analytics
from pandaprobe_otel.local.store.analytics import Window
from pandaprobe_otel.local.store.records import Slice

router = APIRouter(route_class=ApiRoute)


async def _started(started_after: RequiredMoment, started_before: RequiredMoment) -> Window:
    return Window(after=started_after, before=started_before)


async def _scored(date_from: Since = None, date_to: Since = None) -> Window:
    return Window(after=date_from, before=date_to)


Started = Annotated[Window, Depends(_started)]
Scored = Annotated[Window, Depends(_scored)]
Ranks = Annotated[Slice, Depends(page_up_to(100, 20))]
Buckets = Annotated[int, Query(ge=1, le=100)]
_OF_TRACES: Final = {"cost": analytics.TOKENS, "tokens": analytics.TOKENS, "models": analytics.MODELS}
_SESSIONS: Final = "/evaluations/analytics/session-scores"


def _rows(scope: ProjectScope, statement: str, *period: Any, **values: Any) -> list[dict[str, Any]]:
    return scope.services.analytics.rows(statement, scope.project_id, *period, **values)


@router.get("/traces/analytics", tags=["traces"], response_model=list[dict[str, Any]])
def get_analytics(
    scope: Scope, window: Started, metric: AnalyticsMetric = "volume", granularity: AnalyticsGranularity = "day"
) -> Response:
    """Count traces, errors and latencies, or tokens and cost, by time; or rank models."""
    return answer(_rows(scope, _OF_TRACES.get(metric, analytics.VOLUME), window, granularity))


@router.get("/sessions/analytics", tags=["sessions"], response_model=list[dict[str, Any]])
def get_session_analytics(scope: Scope, window: Started, granularity: AnalyticsGranularity = "day") -> Response:
    """Count sessions by time."""
    return answer(_rows(scope, analytics.SESSIONS, window, granularity))


def _add_analytics(path: str, table: str) -> None:
    """Add the routes that both kinds of scores have."""

    @router.get(f"{path}/summary", tags=["evaluations"], response_model=list[dict[str, Any]])
    def get_score_summary(scope: Scope, window: Scored) -> Response:
        """Summarize the scores of each name."""
        return answer(_rows(scope, analytics.SUMMARY, window, table=table))

    @router.get(f"{path}/trend", tags=["evaluations"], response_model=list[dict[str, Any]])
    def get_score_trend(
        scope: Scope, metric_name: str, window: Scored, granularity: AnalyticsGranularity = "day"
    ) -> Response:
        """Average a metric by time."""
        return answer(_rows(scope, analytics.TREND, window, granularity, table=table, name=metric_name))

    @router.get(f"{path}/distribution", tags=["evaluations"], response_model=list[dict[str, Any]])
    def get_score_distribution(scope: Scope, metric_name: str, window: Scored, buckets: Buckets = 10) -> Response:
        """Count a metric's scores by value."""
        return answer(_rows(scope, analytics.DISTRIBUTION, window, table=table, name=metric_name, buckets=buckets))


_add_analytics("/evaluations/analytics/trace-scores", "trace_scores")
_add_analytics(_SESSIONS, "session_scores")


@router.get(f"{_SESSIONS}/history/{{session_id}}", tags=["evaluations"], response_model=list[dict[str, Any]])
def get_session_score_history(
    scope: Scope, session_id: str, metric_name: str | None = None, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> Response:
    """List the scores of a session, oldest first."""
    return answer(_rows(scope, analytics.HISTORY, session=session_id, name=metric_name, limit=limit))


@router.get(f"{_SESSIONS}/comparison", tags=["evaluations"], response_model=dict[str, Any])
def get_session_score_comparison(scope: Scope, metric_name: str, page: Ranks, sort_order: str = "asc") -> Response:
    """Rank sessions by their latest score of a metric. Any order except `asc` is descending."""
    ranked = _rows(scope, analytics.RANKING, name=metric_name, sign=1 if sort_order == "asc" else -1)
    return listed((ranked[page.offset : page.offset + page.limit], len(ranked)), page)
