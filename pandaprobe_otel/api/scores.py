"""`client.scores`: scores of traces, and `client.scores.sessions`: scores of sessions."""

# pyright: reportReturnType=false
# The signature of a method that is one request is the whole method.

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Required, Unpack
from uuid import UUID

from pydantic import Field

from pandaprobe_otel.api.calls import Connection, Steps, call
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
    Rows,
    ScoreSource,
    ScoreStatus,
    SortOrder,
    Text255,
    Title,
    TraceRef,
    id_of,
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
from pandaprobe_otel.api.operation import D, Resource, endpoint, every, operation
from pandaprobe_otel.api.traces import Traces, wait_for_trace
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
_CREATE: Final = Endpoint(method="POST", path=_PATH, body=ScoreBody, answer=TraceScore, repeat=Repeat.NEVER)
_UPDATE: Final = Endpoint(method="PATCH", path=_PATH + "/{score_id}", body=ScoreChanges, answer=TraceScore)

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
        return (yield from call(connection, _CREATE, body=body))
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
    return (yield from call(connection, _CREATE, body=body))


def find_scores(connection: Connection, body: Mapping[str, Any], *, since: datetime) -> Steps[list[TraceScore]]:
    """Return the scores that a body may have created since a moment, latest first."""
    query = {"trace_id": body["trace_id"], "name": body["name"], "limit": 50}
    page = yield from call(connection, Scores.list.endpoint, query=query)
    return [score for score in page.items if score.created_at >= since and score.value == body["value"]]


def _is_visible(connection: Connection, trace_id: str) -> Steps[bool]:
    try:
        yield from call(connection, Traces.get.endpoint, path={"trace_id": trace_id})
    except NotFound:
        return False
    return True


class ScoreAnalytics(Resource[D]):
    """Analytics of scores, by metric."""

    @endpoint("GET", "/evaluations/analytics/{kind}-scores/summary")
    def summary(self, **dates: Unpack[Dates]) -> Rows[ScoreSummary]:
        """Return the average, extremes and counts of each metric."""

    @endpoint("GET", "/evaluations/analytics/{kind}-scores/trend")
    def trend(self, **query: Unpack[ScoreTrendQuery]) -> Rows[ScoreTrend]:
        """Return the averages of one metric over time."""

    @endpoint("GET", "/evaluations/analytics/{kind}-scores/distribution")
    def distribution(self, **query: Unpack[ScoreDistributionQuery]) -> Rows[ScoreDistribution]:
        """Return the histogram of one metric; empty bars are left out (measured on server 0.5.0)."""


class SessionScores(ScoreAnalytics[D]):
    """Scores of sessions. Only evaluation runs create them."""

    kind = "session"

    @endpoint("GET", "/evaluations/session-scores")
    def list(self, **query: Unpack[SessionScoreListQuery]) -> Page[SessionScore]:
        """Return one page of scores, latest first."""

    @every(list)
    def iter(self, *, page_size: int = MAX_PAGE, **filters: Unpack[SessionScoreFilters]) -> SessionScore:
        """Iterate over all matching scores, lazily: one request for each `page_size` (1 to 200) rows."""

    @endpoint("GET", "/evaluations/session-scores/{session_id}")
    def of_session(self, session_id: str) -> Rows[SessionScore]:
        """Return all scores of a session."""

    @endpoint("DELETE", "/evaluations/session-scores/{score_id}")
    def delete(self, score_id: UUID | str) -> None:
        """Delete a score. The server reports no error for a missing one (measured on server 0.5.0)."""

    @endpoint("GET", "/evaluations/analytics/session-scores/history/{session_id}")
    def history(self, session_id: str, **query: Unpack[SessionHistoryQuery]) -> Rows[SessionScorePoint]:
        """Return the scores of one session over time, oldest first."""

    @endpoint("GET", "/evaluations/analytics/session-scores/comparison")
    def comparison(self, **query: Unpack[SessionComparisonQuery]) -> Page[SessionComparison]:
        """Return one page of the ranking of sessions by a metric, worst first; up to 100 rows."""

    @every(comparison)
    def iter_comparison(self, *, page_size: int = 100, **filters: Unpack[ComparisonFilters]) -> SessionComparison:
        """Iterate over the whole ranking of sessions by a metric, lazily; `page_size` is 1 to 100."""


class Scores(ScoreAnalytics[D]):
    """Scores of traces."""

    kind = "trace"

    def __init__(self, connection: Connection, driver: D) -> None:
        super().__init__(connection, driver)
        self.sessions: Final = SessionScores(connection, driver)

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
        fields = score_body(str(id_of(trace_id)), name, value, data_type=data_type, reason=reason, metadata=metadata)
        return give_score(self._connection, {**fields, "source": source}, wait)

    @endpoint("GET", _PATH)
    def list(self, **query: Unpack[ScoreListQuery]) -> Page[TraceScore]:
        """Return one page of scores, latest first."""

    @every(list)
    def iter(self, *, page_size: int = MAX_PAGE, **filters: Unpack[ScoreFilters]) -> TraceScore:
        """Iterate over all matching scores, lazily: one request for each `page_size` (1 to 200) rows."""

    @endpoint("GET", _PATH + "/{trace_id}")
    def of_trace(self, trace_id: TraceRef) -> Rows[TraceScore]:
        """Return the latest score of each name for a trace; empty for an unknown trace."""

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
        text = str(value).lower() if isinstance(value, bool) else None if value is None else str(value)
        changes = {"value": text, "reason": reason, "metadata": metadata}
        body = {name: change for name, change in changes.items() if change is not None}
        return call(self._connection, _UPDATE, path={"score_id": score_id}, body=body)

    @endpoint("DELETE", _PATH + "/{score_id}")
    def delete(self, score_id: UUID | str) -> None:
        """Delete a score."""
