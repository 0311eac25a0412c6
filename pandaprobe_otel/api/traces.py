"""`client.traces`: traces and their spans; `client.users`: the users of traces."""

# pyright: reportReturnType=false
# The signature of a method that is one request is the whole method.

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final, Literal, Required, TypeAlias, Unpack, cast
from uuid import UUID, uuid4

from pydantic import Field

from pandaprobe_otel.api.calls import Connection, Pause, Steps, call
from pandaprobe_otel.api.endpoint import Endpoint, Rate
from pandaprobe_otel.api.fields import (
    MAX_BATCH,
    MAX_PAGE,
    AnalyticsGranularity,
    AnalyticsMetric,
    Arguments,
    Cost,
    Id,
    Known,
    Moment,
    Name,
    Paging,
    Rows,
    SortOrder,
    Text255,
    TokenUsage,
    TraceRef,
    TraceSortBy,
    id_of,
)
from pandaprobe_otel.api.models import (
    AnalyticsBucket,
    Page,
    Span,
    SpansAccepted,
    TokenCostBucket,
    TopModel,
    Trace,
    TraceAccepted,
    TraceListItem,
    TracesDeleted,
    TracesTagged,
    UserSummary,
)
from pandaprobe_otel.api.operation import D, PageWalk, Resource, endpoint, every, iteration, operation
from pandaprobe_otel.enums import SpanKind, SpanStatusCode, TraceStatus
from pandaprobe_otel.errors import NotFound, WaitTimeout


class TraceFilters(Arguments, total=False):
    """Filters and order of a list of traces. A trace matches if its name contains `name` and it has any of `tags`; the
    other filters match exactly.
    """

    session_id: str | None
    status: Known[TraceStatus] | None
    user_id: str | None
    tags: list[str] | None
    name: str | None
    started_after: Moment | None
    started_before: Moment | None
    sort_by: TraceSortBy
    sort_order: SortOrder


class TraceListQuery(TraceFilters, Paging, total=False):
    """Query of GET /traces."""


class Window(Arguments, total=False):
    """Period from `started_after` (included) to `started_before` (excluded), divided into buckets."""

    granularity: AnalyticsGranularity
    started_after: Required[Moment]
    started_before: Required[Moment]


class TraceAnalyticsQuery(Window, total=False):
    """Query of GET /traces/analytics."""

    metric: AnalyticsMetric


class SpanArguments(Arguments, total=False):
    """Span to add. `span_id` is generated if omitted; span ids are unique over all traces of the server."""

    span_id: Id
    parent_span_id: Id | None
    name: Required[Name]
    kind: Known[SpanKind]
    status: Known[SpanStatusCode]
    input: Any
    output: Any
    model: Text255 | None
    token_usage: TokenUsage | None
    metadata: dict[str, Any]
    started_at: Required[Moment]
    ended_at: Moment | None
    error: str | None
    completion_start_time: Moment | None
    model_parameters: dict[str, Any] | None
    cost: Cost | None


SpanBatch = Annotated[list[SpanArguments], Field(min_length=1, max_length=MAX_BATCH)]


class TraceArguments(Arguments, total=False):
    """Trace to post. `trace_id` is generated if omitted. Omitted fields erase those of an earlier post."""

    trace_id: Id
    name: Required[Name]
    status: Known[TraceStatus]
    input: Any
    output: Any
    metadata: dict[str, Any]
    started_at: Required[Moment]
    ended_at: Moment | None
    session_id: Text255 | None
    user_id: Text255 | None
    tags: list[str]
    environment: Text255 | None
    release: Text255 | None
    spans: Annotated[list[SpanArguments], Field(max_length=MAX_BATCH)]


class TraceChanges(Arguments, total=False):
    """Changes to a trace. Omitted fields stay, None clears, metadata is merged, tags are replaced."""

    name: Name
    status: Known[TraceStatus]
    input: Any
    output: Any
    metadata: dict[str, Any] | None
    ended_at: Moment | None
    session_id: Text255 | None
    user_id: Text255 | None
    tags: list[str] | None
    environment: Text255 | None
    release: Text255 | None


class SpanChanges(Arguments, total=False):
    """Changes to a span. Omitted fields stay, None clears, metadata is merged."""

    name: Name
    kind: Known[SpanKind]
    status: Known[SpanStatusCode]
    input: Any
    output: Any
    model: Text255 | None
    token_usage: TokenUsage | None
    metadata: dict[str, Any] | None
    ended_at: Moment | None
    error: str | None
    completion_start_time: Moment | None
    model_parameters: dict[str, Any] | None
    cost: Cost | None


TraceIds = Annotated[list[Id], Field(min_length=1, max_length=MAX_BATCH)]


class TracesToDelete(Arguments):
    """Body of POST /traces/batch/delete."""

    trace_ids: TraceIds


class TracesToTag(Arguments, total=False):
    """Body of POST /traces/batch/tags."""

    trace_ids: Required[TraceIds]
    add_tags: list[str]
    remove_tags: list[str]


# Small traces are visible after 0.15 to 0.5 s (measured). 2 s uses a sixth of the 200 requests a minute and path.
_FIRST_PAUSE_S: Final = 0.15
_LONGEST_PAUSE_S: Final = 2.0


def wait_for_trace(connection: Connection, trace_id: TraceRef, timeout_s: float) -> Steps[Trace]:
    """Request a trace until it is visible.

    Raises:
        WaitTimeout: the trace did not appear within `timeout_s` seconds.
    """
    deadline = connection.clock() + timeout_s
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return (yield from call(connection.until(deadline), Traces.get.endpoint, path={"trace_id": trace_id}))
        except NotFound:
            remaining = deadline - connection.clock()
            if remaining <= 0:
                raise WaitTimeout(
                    f"Trace {id_of(trace_id)} is not visible after {timeout_s:g} s. Check that it was sent to this"
                    " project with this key. The server answers 202 before it stores a trace, and drops one it cannot"
                    " store."
                ) from None
            yield Pause(min(pause_s, remaining))
            pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)


Analytics: TypeAlias = list[AnalyticsBucket] | list[TokenCostBucket] | list[TopModel]

_CREATE: Final = Endpoint(method="POST", path="/traces", body=TraceArguments, answer=TraceAccepted, rate=Rate.TRACES)
_DELETE_MANY: Final = Endpoint(method="POST", path="/traces/batch/delete", body=TracesToDelete, answer=TracesDeleted)
_TAG: Final = Endpoint(method="POST", path="/traces/batch/tags", body=TracesToTag, answer=TracesTagged)
_ADD_SPANS: Final = Endpoint(method="POST", path="/traces/{trace_id}/spans", body=SpanBatch, answer=SpansAccepted)


class Traces(Resource[D]):
    """Traces and their spans. Ids are UUIDs; a trace can be given by its id or as an object."""

    @endpoint("GET", "/traces")
    def list(self, **query: Unpack[TraceListQuery]) -> Page[TraceListItem]:
        """Return one page of traces; by default, the latest come first (see `sort_by` and `sort_order`)."""

    @every(list)
    def iter(self, *, page_size: int = MAX_PAGE, **filters: Unpack[TraceFilters]) -> TraceListItem:
        """Iterate over all matching traces, lazily: one request for each `page_size` (1 to 200) rows."""

    @iteration
    def iterate(self, *, session_id: str | None = None, max_items: int = 1000) -> PageWalk[TraceListItem]:
        """Iterate over the latest `max_items` traces (of a session), lazily: the official SDK's name for `iter`."""
        return PageWalk(
            self._connection,
            Traces.list.endpoint,
            query={} if session_id is None else {"session_id": session_id},
            page_size=min(max(max_items, 1), MAX_PAGE),
            max_rows=max_items,
        )

    @endpoint("GET", "/traces/{trace_id}")
    def get(self, trace_id: TraceRef) -> Trace:
        """Return a trace with all its spans. Raises NotFound if it is missing or not visible yet (`wait_visible`)."""

    @operation
    def wait_visible(self, trace_id: TraceRef, timeout: float = 30.0) -> Steps[Trace]:
        """Wait until a sent trace can be read, and return it. `timeout` is in seconds.

        Raises:
            WaitTimeout: the trace did not appear.
        """
        return wait_for_trace(self._connection, trace_id, timeout)

    @operation
    def create(self, **trace: Unpack[TraceArguments]) -> Steps[TraceAccepted]:
        """Post a whole trace. Each post is billed, and erases input and output that it omits.

        Missing ids of the trace and its spans are generated, so repeating the request after a failure creates no
        duplicates. Content that the server cannot store is removed (NUL characters, NaN, nesting over 100).
        """
        body = {**trace, "trace_id": trace.get("trace_id", uuid4())}
        if spans := trace.get("spans"):
            body["spans"] = _with_ids(spans)
        return call(self._connection, _CREATE, body=body)

    @endpoint("PATCH", "/traces/{trace_id}")
    def update(self, trace_id: TraceRef, **changes: Unpack[TraceChanges]) -> Trace:
        """Change a trace. Omitted fields stay, None clears, metadata is merged, tags are replaced."""

    @endpoint("DELETE", "/traces/{trace_id}")
    def delete(self, trace_id: TraceRef) -> None:
        """Delete a trace and its spans."""

    @operation
    def delete_many(self, trace_ids: Iterable[TraceRef]) -> Steps[TracesDeleted]:
        """Delete up to 500 traces at once; unknown ids are ignored."""
        return call(self._connection, _DELETE_MANY, body={"trace_ids": [*trace_ids]})

    @operation
    def tag(
        self, trace_ids: Iterable[TraceRef], *, add: Sequence[str] = (), remove: Sequence[str] = ()
    ) -> Steps[TracesTagged]:
        """Add tags to up to 500 traces, and remove others from them."""
        body: dict[str, Any] = {"trace_ids": [*trace_ids]}
        # A bare string is refused, because it would be read as a list of its characters.
        body |= {name: tags for name, tags in (("add_tags", add), ("remove_tags", remove)) if tags}
        return call(self._connection, _TAG, body=body)

    @operation
    def add_spans(self, trace_id: TraceRef, spans: Iterable[SpanArguments]) -> Steps[SpansAccepted]:
        """Add up to 500 spans to a visible trace. They are neither billed nor counted as posts of traces."""
        return call(self._connection, _ADD_SPANS, path={"trace_id": trace_id}, body=_with_ids(spans))

    @endpoint("PATCH", "/traces/{trace_id}/spans/{span_id}")
    def update_span(self, trace_id: TraceRef, span_id: UUID | str, **changes: Unpack[SpanChanges]) -> Span:
        """Change a span. Omitted fields stay, None clears, metadata is merged."""

    @operation
    def analytics(self, **query: Unpack[TraceAnalyticsQuery]) -> Steps[Analytics]:
        """Return rows of any metric. `activity`, `token_usage` and `top_models` have exact types."""
        tokens, models = Traces.token_usage.endpoint, Traces.top_models.endpoint
        rare: dict[str, Endpoint[Any]] = {"tokens": tokens, "cost": tokens, "models": models}
        found: Endpoint[Any] = rare.get(str(query.get("metric")), Traces.activity.endpoint)
        return call(self._connection, replace(found, query=TraceAnalyticsQuery), query=query)

    @endpoint("GET", "/traces/analytics")
    def activity(
        self, metric: Literal["volume", "errors", "latency"] = "volume", **window: Unpack[Window]
    ) -> Rows[AnalyticsBucket]:
        """Return traces, errors and latencies over time. The server returns all three for each of these metrics."""

    @endpoint("GET", "/traces/analytics")
    def token_usage(
        self, metric: Literal["tokens", "cost"] = "tokens", **window: Unpack[Window]
    ) -> Rows[TokenCostBucket]:
        """Return tokens and cost over time."""

    @endpoint("GET", "/traces/analytics")
    def top_models(self, metric: Literal["models"] = "models", **window: Unpack[Window]) -> Rows[TopModel]:
        """Return the most frequently called models."""


class Users(Resource[D]):
    """The user ids of traces."""

    @endpoint("GET", "/traces/users")
    def list(self, **paging: Unpack[Paging]) -> Page[UserSummary]:
        """Return one page of users, with the totals of their traces."""

    @every(list)
    def iter(self, *, page_size: int = MAX_PAGE) -> UserSummary:
        """Iterate over all users, lazily."""


def _with_ids(spans: Iterable[Any]) -> Sequence[Any]:
    """Return the spans, each with an id. The check of the body reports items that are not spans."""
    return [_with_id(cast("Mapping[str, Any]", span)) if isinstance(span, Mapping) else span for span in spans]


def _with_id(span: Mapping[str, Any]) -> dict[str, Any]:
    return {**span, "span_id": span.get("span_id") or uuid4()}
