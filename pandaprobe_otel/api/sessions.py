"""`client.sessions`: the traces that share a session id."""

# pyright: reportReturnType=false
# The signature of a method that is one request is the whole method.

from __future__ import annotations

from typing import Annotated, Final, Unpack

from pydantic import Field

from pandaprobe_otel.api.calls import Steps, call
from pandaprobe_otel.api.endpoint import Endpoint
from pandaprobe_otel.api.fields import MAX_PAGE, Arguments, Moment, Offset, Paging, Rows, SessionSortBy, SortOrder
from pandaprobe_otel.api.models import Page, Session, SessionAnalyticsBucket, SessionDeleted, SessionSummary, Trace
from pandaprobe_otel.api.operation import D, Resource, endpoint, every, operation
from pandaprobe_otel.api.traces import Window


class SessionFilters(Arguments, total=False):
    """Filters and order of a list of sessions. `query` is a part of the session id.

    The filters by user, time and tags also apply to the totals: only matching traces count (measured on server 0.5.0).
    """

    user_id: str | None
    has_error: bool | None
    started_after: Moment | None
    started_before: Moment | None
    tags: list[str] | None
    query: str | None
    sort_by: SessionSortBy
    sort_order: SortOrder


class SessionListQuery(SessionFilters, Paging, total=False):
    """Query of GET /sessions."""


class SessionTracesQuery(Arguments, total=False):
    """Query of GET /sessions/{session_id}: a page of its traces."""

    limit: Annotated[int, Field(ge=1, le=1000)]
    offset: Offset


_GET: Final = Endpoint(method="GET", path="/sessions/{session_id}", query=SessionTracesQuery, answer=Session)


class Sessions(Resource[D]):
    """Operations on sessions."""

    @endpoint("GET", "/sessions")
    def list(self, **query: Unpack[SessionListQuery]) -> Page[SessionSummary]:
        """Return one page of sessions; by default, the most recently arrived traces come first."""

    @every(list)
    def iter(self, *, page_size: int = MAX_PAGE, **filters: Unpack[SessionFilters]) -> SessionSummary:
        """Iterate over all matching sessions, lazily: one request for each `page_size` (1 to 200) rows."""

    @operation
    def get(self, session_id: str, **page: Unpack[SessionTracesQuery]) -> Steps[Session]:
        """Return a session with its totals and all its traces, oldest first.

        `limit` and `offset` return a page of the traces.

        Raises:
            InvalidRequest: the id has a slash; such a session can only be listed.
            NotFound: the session does not exist.
        """
        path = {"session_id": session_id}
        session = yield from call(self._connection, _GET, path=path, query=page)
        if page:
            return session
        traces: dict[object, Trace] = {trace.trace_id: trace for trace in session.traces}
        offset = len(session.traces)
        while offset < session.trace_count:
            further = yield from call(self._connection, _GET, path=path, query={"offset": offset})
            if not further.traces:
                break
            offset += len(further.traces)
            traces.update((trace.trace_id, trace) for trace in further.traces)
        return session.model_copy(update={"traces": [*traces.values()]})

    @endpoint("DELETE", "/sessions/{session_id}")
    def delete(self, session_id: str) -> SessionDeleted:
        """Delete all traces of a session."""

    @endpoint("GET", "/sessions/analytics")
    def analytics(self, **window: Unpack[Window]) -> Rows[SessionAnalyticsBucket]:
        """Return the number and duration of sessions over time."""
