"""Lists and single traces."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from pandaprobe_otel.api import models as answers
from pandaprobe_otel.api.fields import SortOrder, TraceSortBy
from pandaprobe_otel.enums import TraceStatus
from pandaprobe_otel.local.auth import Scope
from pandaprobe_otel.local.errors import not_found
from pandaprobe_otel.local.routes.parameters import Limit200, Offset, Since, Tags, micros_or_none
from pandaprobe_otel.local.routing import ApiRoute, answer
from pandaprobe_otel.local.store.queries import Slice
from pandaprobe_otel.local.store.records import span_record, trace_list_record, trace_record
from pandaprobe_otel.local.store.trace_filter import TraceFilter

router = APIRouter(route_class=ApiRoute, tags=["traces"])


@router.get("/traces", response_model=answers.Page[answers.TraceListItem])
def list_traces(
    scope: Scope,
    limit: Limit200 = 50,
    offset: Offset = 0,
    session_id: str | None = None,
    status: Annotated[TraceStatus | None, Query()] = None,
    user_id: str | None = None,
    tags: Tags = None,
    name: str | None = None,
    started_after: Since = None,
    started_before: Since = None,
    sort_by: TraceSortBy = "started_at",
    sort_order: SortOrder = "desc",
) -> Response:
    """List traces. `tags` matches any of the tags, and `name` matches part of the name in any case."""
    wanted = TraceFilter(
        session_id=session_id,
        status=status,
        user_id=user_id,
        tags=tuple(tags or ()),
        name=name,
        after=micros_or_none(started_after),
        before=micros_or_none(started_before),
    )
    found = scope.services.queries.traces(
        scope.project_id, wanted, Slice(limit=limit, offset=offset), sort_by, sort_order
    )
    items = [trace_list_record(row) for row in found.rows]
    return answer({"items": items, "total": found.total, "limit": limit, "offset": offset})


@router.get("/traces/users", response_model=answers.Page[answers.UserSummary])
def list_trace_users(scope: Scope, limit: Limit200 = 50, offset: Offset = 0) -> Response:
    """List the users of traces, most recently seen first."""
    items, total = scope.services.queries.users(scope.project_id, Slice(limit=limit, offset=offset))
    return answer({"items": items, "total": total, "limit": limit, "offset": offset})


@router.get("/traces/{trace_id}", response_model=answers.Trace)
def get_trace(scope: Scope, trace_id: UUID) -> Response:
    """Return a trace with all its spans."""
    found = scope.services.traces.get(scope.project_id, str(trace_id))
    if found is None:
        raise not_found(f"Trace {trace_id}")
    row, spans = found
    return answer(trace_record(row, [span_record(span, row["trace_id"]) for span in spans]))
