"""Sessions: the traces that share a session id."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from pandaprobe_otel.api import models as answers
from pandaprobe_otel.api.fields import SessionSortBy, SortOrder
from pandaprobe_otel.local.auth import Scope
from pandaprobe_otel.local.errors import not_found
from pandaprobe_otel.local.routing import ApiRoute, Page, Since, Tags, answer, listed, page_up_to
from pandaprobe_otel.local.store.records import Slice
from pandaprobe_otel.local.store.trace_filter import TraceFilter

router = APIRouter(route_class=ApiRoute, tags=["sessions"])


@router.get("/sessions", response_model=answers.Page[answers.SessionSummary])
def list_sessions(
    scope: Scope,
    page: Page,
    user_id: str | None = None,
    has_error: bool | None = None,
    started_after: Since = None,
    started_before: Since = None,
    tags: Tags = None,
    query: str | None = None,
    sort_by: SessionSortBy = "recent",
    sort_order: SortOrder = "desc",
) -> Response:
    """List sessions. Filters also restrict the traces in the totals, and `recent` is the time of arrival."""
    wanted = TraceFilter(
        user_id=user_id,
        tags=tuple(tags or ()),
        session_query=query,
        after=started_after,
        before=started_before,
    )
    queries = scope.services.queries
    return listed(queries.sessions(scope.project_id, wanted, page, sort_by, sort_order, has_error=has_error), page)


@router.get("/sessions/{session_id}", response_model=answers.Session)
def get_session(scope: Scope, session_id: str, page: Annotated[Slice, Depends(page_up_to(1000, 200))]) -> Response:
    """Return a session with a page of its traces, oldest first. The totals cover all traces."""
    queries = scope.services.queries
    summary = queries.session(scope.project_id, session_id)
    if summary is None:
        raise not_found(f"Session '{session_id}'")
    return answer({**summary, "traces": queries.session_traces(scope.project_id, session_id, page)})


@router.delete("/sessions/{session_id}", response_model=answers.TracesDeleted)
def delete_session(scope: Scope, session_id: str) -> Response:
    """Delete every trace of a session."""
    services = scope.services
    ids = services.queries.session_trace_ids(scope.project_id, session_id)
    if not ids:
        raise not_found(f"Session '{session_id}'")
    return answer({"deleted": services.traces.delete(scope.project_id, ids)})
