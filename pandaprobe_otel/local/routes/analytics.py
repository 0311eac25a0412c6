"""Analytics of traces, sessions and scores."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from pandaprobe_otel.api.fields import AnalyticsGranularity, AnalyticsMetric
from pandaprobe_otel.local.auth import Scope
from pandaprobe_otel.local.routing import ApiRoute, RequiredMoment, Since, answer, listed, page_up_to
from pandaprobe_otel.local.services import Services
from pandaprobe_otel.local.store.analytics import ScoreAnalytics, Window
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
_SESSIONS = "/evaluations/analytics/session-scores"


@router.get("/traces/analytics", tags=["traces"], response_model=list[dict[str, Any]])
def get_analytics(
    scope: Scope,
    window: Started,
    metric: AnalyticsMetric = "volume",
    granularity: AnalyticsGranularity = "day",
) -> Response:
    """Count traces, errors and latencies, or tokens and cost, by time; or rank models."""
    analytics = scope.services.trace_analytics
    if metric == "models":
        return answer(analytics.models(scope.project_id, window))
    if metric in ("cost", "tokens"):
        return answer(analytics.tokens(scope.project_id, window, granularity))
    return answer(analytics.volume(scope.project_id, window, granularity))


@router.get("/sessions/analytics", tags=["sessions"], response_model=list[dict[str, Any]])
def get_session_analytics(
    scope: Scope,
    window: Started,
    granularity: AnalyticsGranularity = "day",
) -> Response:
    """Count sessions by time."""
    return answer(scope.services.trace_analytics.sessions(scope.project_id, window, granularity))


def _add_analytics(path: str, analytics_of: Callable[[Services], ScoreAnalytics]) -> None:
    """Add the routes that both kinds of scores have."""

    @router.get(f"{path}/summary", tags=["evaluations"], response_model=list[dict[str, Any]])
    def get_score_summary(scope: Scope, window: Scored) -> Response:
        """Summarize the scores of each name."""
        return answer(analytics_of(scope.services).summary(scope.project_id, window))

    @router.get(f"{path}/trend", tags=["evaluations"], response_model=list[dict[str, Any]])
    def get_score_trend(
        scope: Scope, metric_name: str, window: Scored, granularity: AnalyticsGranularity = "day"
    ) -> Response:
        """Average a metric by time."""
        analytics = analytics_of(scope.services)
        return answer(analytics.trend(scope.project_id, metric_name, window, granularity))

    @router.get(f"{path}/distribution", tags=["evaluations"], response_model=list[dict[str, Any]])
    def get_score_distribution(scope: Scope, metric_name: str, window: Scored, buckets: Buckets = 10) -> Response:
        """Count a metric's scores by value."""
        analytics = analytics_of(scope.services)
        return answer(analytics.distribution(scope.project_id, metric_name, window, buckets))


_add_analytics("/evaluations/analytics/trace-scores", attrgetter("trace_score_analytics"))
_add_analytics(_SESSIONS, attrgetter("session_score_analytics"))


@router.get(f"{_SESSIONS}/history/{{session_id}}", tags=["evaluations"], response_model=list[dict[str, Any]])
def get_session_score_history(
    scope: Scope, session_id: str, metric_name: str | None = None, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> Response:
    """List the scores of a session, oldest first."""
    analytics = scope.services.session_score_analytics
    return answer(analytics.history(scope.project_id, session_id, metric_name, limit))


@router.get(f"{_SESSIONS}/comparison", tags=["evaluations"], response_model=dict[str, Any])
def get_session_score_comparison(scope: Scope, metric_name: str, page: Ranks, sort_order: str = "asc") -> Response:
    """Rank sessions by their latest score of a metric. Any order except `asc` is descending."""
    analytics = scope.services.session_score_analytics
    found = analytics.comparison(scope.project_id, metric_name, page, ascending=sort_order == "asc")
    return listed(found, page)
