"""`client.scores`: scores of traces, and `client.scores.sessions`: scores of sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, Required, TypeAlias, Unpack
from uuid import UUID

from pydantic import Field

from pandaprobe_otel.api.calls import AsyncDriver, Connection, Steps, SyncDriver, call
from pandaprobe_otel.api.endpoint import Endpoint, Repeat
from pandaprobe_otel.api.fields import (
    MAX_PAGE,
    AnalyticsGranularity,
    Arguments,
    Id,
    Known,
    Moment,
    Offset,
    Paging,
    ScoreSource,
    ScoreStatus,
    SortOrder,
    Text255,
    Title,
)
from pandaprobe_otel.api.models import (
    Page,
    ScoreDistribution,
    ScoreSummary,
    ScoreTrend,
    SessionComparison,
    SessionScore,
    SessionScorePoint,
    TraceScore,
)
from pandaprobe_otel.api.operation import (
    AsyncResource,
    PageWalk,
    Resource,
    SyncResource,
    TraceRef,
    iteration,
    operation,
    session_of,
    trace_uuid_of,
    uuid_of,
)
from pandaprobe_otel.api.traces import GET_TRACE, wait_for_trace
from pandaprobe_otel.capture.scores import score_body
from pandaprobe_otel.enums import ScoreDataType
from pandaprobe_otel.errors import NotFound, ServerError


class ScoreFilters(Arguments, total=False):
    """Filters of trace scores. `name` matches exactly; dates are those of the scores."""

    trace_id: Id | None
    name: str | None
    source: ScoreSource | None
    status: ScoreStatus | None
    data_type: Known[ScoreDataType] | None
    eval_run_id: Id | None
    environment: str | None
    date_from: Moment | None
    date_to: Moment | None


class ScoreListQuery(ScoreFilters, Paging, total=False):
    """Query of GET /evaluations/trace-scores."""


class SessionScoreFilters(Arguments, total=False):
    """Filters of session scores."""

    session_id: str | None
    name: str | None
    source: ScoreSource | None
    status: ScoreStatus | None
    eval_run_id: Id | None
    date_from: Moment | None
    date_to: Moment | None


class SessionScoreListQuery(SessionScoreFilters, Paging, total=False):
    """Query of GET /evaluations/session-scores."""


class ScoreBody(Arguments, total=False):
    """Body of POST /evaluations/trace-scores. The value is a string there, whatever its type (measured)."""

    trace_id: Required[Id]
    name: Required[Title]
    value: Required[Text255]
    data_type: Known[ScoreDataType]
    source: ScoreSource
    reason: str | None
    metadata: dict[str, Any]


class ScoreChanges(Arguments, total=False):
    """Body of PATCH /evaluations/trace-scores/{score_id}."""

    value: Text255 | None
    reason: str | None
    metadata: dict[str, Any] | None


class Dates(Arguments, total=False):
    """Period of the scores, from `date_from` (included) to `date_to` (excluded)."""

    date_from: Moment | None
    date_to: Moment | None


class ScoreTrendQuery(Dates, total=False):
    """Query of the trend of a metric."""

    metric_name: Required[str]
    granularity: AnalyticsGranularity


class ScoreDistributionQuery(Dates, total=False):
    """Query of the histogram of a metric."""

    metric_name: Required[str]
    buckets: Annotated[int, Field(ge=1, le=100)]


class SessionHistoryQuery(Arguments, total=False):
    """Query of the scores of one session over time."""

    metric_name: str | None
    limit: Annotated[int, Field(ge=1, le=200)]


class ComparisonFilters(Arguments, total=False):
    """Ranking of sessions; `asc` puts the worst first."""

    metric_name: Required[str]
    sort_order: SortOrder


class SessionComparisonQuery(ComparisonFilters, total=False):
    """Query of the ranking of sessions. Its pages are smaller than those of other lists."""

    limit: Annotated[int, Field(ge=1, le=100)]
    offset: Offset


_PATH: Final = "/evaluations/trace-scores"
CREATE: Final = Endpoint(method="POST", path=_PATH, body=ScoreBody, answer=TraceScore, repeat=Repeat.NEVER)
LIST: Final = Endpoint(method="GET", path=_PATH, query=ScoreListQuery, answer=Page[TraceScore])

CLOCK_SKEW: Final = timedelta(minutes=2)
"""Largest assumed difference between the clocks of this machine and the server, for searching new objects."""


def give_score(connection: Connection, body: Mapping[str, Any], wait_s: float) -> Steps[TraceScore]:
    """Give a score. If that fails because the trace is not visible, wait for it and give the score again.

    For an invisible trace, server 0.5.0 answers 500 (measured), other servers answer 404. A score is never given twice.
    After a 500, the score is sent again only if the trace was not visible (the server cannot have stored the score
    then), or if the server does not have the score.
    """
    begun = connection.now()
    trace_id = str(body["trace_id"])
    try:
        return (yield from call(connection, CREATE, body=body))
    except NotFound:
        if wait_s <= 0:
            raise
        visible = False
    except ServerError as error:
        if error.status != 500:
            raise
        if wait_s <= 0:
            raise ServerError(
                f"{error} A 500 here usually means that trace {trace_id} is not visible yet or does not exist in"
                " this project.",
                status=500,
                detail=error.detail,
                request_id=error.request_id,
            ) from None
        visible = yield from _is_visible(connection, trace_id)
    if not visible:
        yield from wait_for_trace(connection, trace_id, wait_s)
    elif same := (yield from find_scores(connection, body, since=begun - CLOCK_SKEW)):
        return same[0]
    return (yield from call(connection, CREATE, body=body))


def find_scores(connection: Connection, body: Mapping[str, Any], *, since: datetime) -> Steps[list[TraceScore]]:
    """Return the scores that a body may have created since a moment, latest first."""
    query = {"trace_id": body["trace_id"], "name": body["name"], "limit": 50}
    page = yield from call(connection, LIST, query=query)
    return [score for score in page.items if score.created_at >= since and score.value == body["value"]]


def _is_visible(connection: Connection, trace_id: str) -> Steps[bool]:
    try:
        yield from call(connection, GET_TRACE, path={"trace_id": trace_id})
    except NotFound:
        return False
    return True


TraceScores: TypeAlias = list[TraceScore]
SessionScores: TypeAlias = list[SessionScore]
Summaries: TypeAlias = list[ScoreSummary]
Trends: TypeAlias = list[ScoreTrend]
Distributions: TypeAlias = list[ScoreDistribution]
History: TypeAlias = list[SessionScorePoint]

_ONE: Final = "/evaluations/trace-scores/{score_id}"
OF_TRACE: Final = Endpoint(method="GET", path="/evaluations/trace-scores/{trace_id}", answer=TraceScores)
UPDATE: Final = Endpoint(method="PATCH", path=_ONE, body=ScoreChanges, answer=TraceScore)
DELETE: Final = Endpoint(method="DELETE", path=_ONE, answer=type(None))

_SESSIONS: Final = "/evaluations/session-scores"
SESSION_LIST: Final = Endpoint(method="GET", path=_SESSIONS, query=SessionScoreListQuery, answer=Page[SessionScore])
OF_SESSION: Final = Endpoint(method="GET", path=_SESSIONS + "/{session_id}", answer=SessionScores)
SESSION_DELETE: Final = Endpoint(method="DELETE", path=_SESSIONS + "/{score_id}", answer=type(None))

_SESSION_ANALYTICS: Final = "/evaluations/analytics/session-scores"
HISTORY: Final = Endpoint(
    method="GET", path=_SESSION_ANALYTICS + "/history/{session_id}", query=SessionHistoryQuery, answer=History
)
COMPARISON: Final = Endpoint(
    method="GET",
    path=_SESSION_ANALYTICS + "/comparison",
    query=SessionComparisonQuery,
    answer=Page[SessionComparison],
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalyticsEndpoints:
    """Routes of analytics, which both kinds of scores have."""

    summary: Endpoint[Summaries]
    trend: Endpoint[Trends]
    distribution: Endpoint[Distributions]


def _analytics(target: Literal["trace", "session"]) -> AnalyticsEndpoints:
    base = f"/evaluations/analytics/{target}-scores"
    return AnalyticsEndpoints(
        summary=Endpoint(method="GET", path=f"{base}/summary", query=Dates, answer=Summaries),
        trend=Endpoint(method="GET", path=f"{base}/trend", query=ScoreTrendQuery, answer=Trends),
        distribution=Endpoint(
            method="GET", path=f"{base}/distribution", query=ScoreDistributionQuery, answer=Distributions
        ),
    )


TRACE_ANALYTICS: Final = _analytics("trace")
SESSION_ANALYTICS: Final = _analytics("session")


class ScoreAnalytics(Resource):
    """Analytics of scores, by metric."""

    analytics: AnalyticsEndpoints

    @operation
    def summary(self, **dates: Unpack[Dates]) -> Steps[Summaries]:
        """Return the average, extremes and counts of each metric."""
        return call(self._connection, self.analytics.summary, query=dates)

    @operation
    def trend(self, **query: Unpack[ScoreTrendQuery]) -> Steps[Trends]:
        """Return the averages of one metric over time."""
        return call(self._connection, self.analytics.trend, query=query)

    @operation
    def distribution(self, **query: Unpack[ScoreDistributionQuery]) -> Steps[Distributions]:
        """Return the histogram of one metric; empty bars are left out (measured on server 0.5.0)."""
        return call(self._connection, self.analytics.distribution, query=query)


class ScoreOperations(ScoreAnalytics):
    """Scores of traces."""

    analytics = TRACE_ANALYTICS

    @operation
    def create(
        self,
        trace_id: TraceRef,
        name: str,
        value: float | bool | str,
        *,
        data_type: ScoreDataType | str | None = None,
        source: ScoreSource = "PROGRAMMATIC",
        reason: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        wait: float = 30.0,
    ) -> Steps[TraceScore]:
        """Give a trace a score: a number from 0 to 1, True or False, or a label.

        If the trace is not visible yet, the server fails with 500 (measured on server 0.5.0). The call then waits up to
        `wait` seconds for the trace, and gives the score again.

        Raises:
            InvalidRequest: the score is invalid; nothing was sent.
            WaitTimeout: the trace did not become visible; no score was given.
            OutcomeUnknown: no answer came; see `client.look_up`.
        """
        trace = trace_uuid_of(trace_id, what=str(CREATE))
        fields = score_body(trace, name, value, data_type=data_type, reason=reason, metadata=metadata)
        return give_score(self._connection, {**fields, "source": source}, wait)

    @operation
    def list(self, **query: Unpack[ScoreListQuery]) -> Steps[Page[TraceScore]]:
        """Return one page of scores, latest first."""
        return call(self._connection, LIST, query=query)

    @iteration
    def iter(self, *, page_size: int = MAX_PAGE, **filters: Unpack[ScoreFilters]) -> PageWalk[TraceScore]:
        """Iterate over all matching scores, lazily: one request for each `page_size` (1 to 200) rows."""
        return PageWalk(self._connection, LIST, query=filters, key=lambda score: score.id, page_size=page_size)

    @operation
    def of_trace(self, trace_id: TraceRef) -> Steps[TraceScores]:
        """Return the latest score of each name for a trace; empty for an unknown trace."""
        return call(self._connection, OF_TRACE, path={"trace_id": trace_uuid_of(trace_id, what=str(OF_TRACE))})

    @operation
    def update(
        self,
        score_id: UUID | str,
        *,
        value: float | bool | str | None = None,
        reason: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Steps[TraceScore]:
        """Change a score; metadata is replaced. Its source becomes ANNOTATION, whatever it was before (measured)."""
        body = _changes(value=_as_text(value), reason=reason, metadata=None if metadata is None else dict(metadata))
        return call(self._connection, UPDATE, path=_score_path(score_id, UPDATE), body=body)

    @operation
    def delete(self, score_id: UUID | str) -> Steps[None]:
        """Delete a score."""
        return call(self._connection, DELETE, path=_score_path(score_id, DELETE))


class SessionScoreOperations(ScoreAnalytics):
    """Scores of sessions. Only evaluation runs create them."""

    analytics = SESSION_ANALYTICS

    @operation
    def list(self, **query: Unpack[SessionScoreListQuery]) -> Steps[Page[SessionScore]]:
        """Return one page of scores, latest first."""
        return call(self._connection, SESSION_LIST, query=query)

    @iteration
    def iter(self, *, page_size: int = MAX_PAGE, **filters: Unpack[SessionScoreFilters]) -> PageWalk[SessionScore]:
        """Iterate over all matching scores, lazily: one request for each `page_size` (1 to 200) rows."""
        return PageWalk(self._connection, SESSION_LIST, query=filters, key=lambda score: score.id, page_size=page_size)

    @operation
    def of_session(self, session_id: str) -> Steps[SessionScores]:
        """Return all scores of a session."""
        return call(self._connection, OF_SESSION, path={"session_id": session_of(session_id, what=str(OF_SESSION))})

    @operation
    def delete(self, score_id: UUID | str) -> Steps[None]:
        """Delete a score. The server reports no error for a missing one (measured on server 0.5.0)."""
        return call(self._connection, SESSION_DELETE, path=_score_path(score_id, SESSION_DELETE))

    @operation
    def history(self, session_id: str, **query: Unpack[SessionHistoryQuery]) -> Steps[History]:
        """Return the scores of one session over time, oldest first."""
        path = {"session_id": session_of(session_id, what=str(HISTORY))}
        return call(self._connection, HISTORY, path=path, query=query)

    @operation
    def comparison(self, **query: Unpack[SessionComparisonQuery]) -> Steps[Page[SessionComparison]]:
        """Return one page of the ranking of sessions by a metric, worst first; up to 100 rows."""
        return call(self._connection, COMPARISON, query=query)

    @iteration
    def iter_comparison(
        self, *, page_size: int = 100, **filters: Unpack[ComparisonFilters]
    ) -> PageWalk[SessionComparison]:
        """Iterate over the whole ranking of sessions by a metric, lazily; `page_size` is 1 to 100."""
        return PageWalk(
            self._connection, COMPARISON, query=filters, key=lambda row: row.session_id, page_size=page_size
        )


class SessionScoresOf(SessionScoreOperations, SyncResource):
    """`Client.scores.sessions`."""


class AsyncSessionScoresOf(SessionScoreOperations, AsyncResource):
    """`AsyncClient.scores.sessions`."""


class Scores(ScoreOperations, SyncResource):
    """`Client.scores`."""

    def __init__(self, connection: Connection, driver: SyncDriver) -> None:
        super().__init__(connection, driver)
        self.sessions: Final = SessionScoresOf(connection, driver)


class AsyncScores(ScoreOperations, AsyncResource):
    """`AsyncClient.scores`."""

    def __init__(self, connection: Connection, driver: AsyncDriver) -> None:
        super().__init__(connection, driver)
        self.sessions: Final = AsyncSessionScoresOf(connection, driver)


def _score_path(score_id: UUID | str, endpoint: Endpoint[Any]) -> dict[str, str]:
    return {"score_id": uuid_of("score_id", score_id, what=str(endpoint))}


def _as_text(value: float | bool | str | None) -> str | None:
    return str(value).lower() if isinstance(value, bool) else None if value is None else str(value)


def _changes(**given: Any) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}
