"""Traces and spans: ingestion, changes, lists and single ones."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID, uuid4

from fastapi import APIRouter, Body, Query
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pandaprobe_otel.api import models as answers
from pandaprobe_otel.api.fields import SortOrder, TraceSortBy
from pandaprobe_otel.enums import TraceStatus
from pandaprobe_otel.local.auth import ProjectScope, Scope
from pandaprobe_otel.local.errors import EmptyNameError, not_found
from pandaprobe_otel.local.models.traces import (
    MAX_SPANS,
    BatchDelete,
    BatchTags,
    SpanCreate,
    SpanUpdate,
    TraceCreate,
    TraceUpdate,
)
from pandaprobe_otel.local.routing import ApiRoute, Page, Since, Tags, answer, listed
from pandaprobe_otel.local.store.records import trace_list_record
from pandaprobe_otel.local.store.trace_filter import TraceFilter

router = APIRouter(route_class=ApiRoute, tags=["traces"])

_UNFINISHED: Final = (TraceStatus.RUNNING, TraceStatus.PENDING)


@router.post("/traces", status_code=202, response_model=answers.TraceAccepted)
def ingest_trace(scope: Scope, body: TraceCreate) -> Response:
    """Store a trace with up to 500 spans, or merge it into the stored one. It is readable as soon as the answer is
    sent.
    """
    scope.spend("POST", "/traces")
    services = scope.services
    services.quota.check(scope.organization, "traces", 1)
    with services.database.write() as connection:
        scope.keep(connection)
        services.traces.save(connection, scope.project_id, body, now=services.now())
        services.quota.count(connection, scope.organization, "traces", 1)
    if body.status not in _UNFINISHED:
        services.live.stored(str(body.trace_id))
    return answer({"trace_id": str(body.trace_id), "task_id": str(uuid4())}, 202)


@router.post("/traces/batch/delete", response_model=answers.TracesDeleted)
def batch_delete(scope: Scope, body: BatchDelete) -> Response:
    """Delete up to 500 traces."""
    return answer({"deleted": scope.services.traces.delete(scope.project_id, map(str, body.trace_ids))})


@router.post("/traces/batch/tags", response_model=answers.TracesTagged)
def batch_tags(scope: Scope, body: BatchTags) -> Response:
    """Add and remove tags of up to 500 traces."""
    if not body.add_tags and not body.remove_tags:
        return answer({"updated": 0})
    changed = scope.services.traces.change_tags(
        scope.project_id, map(str, body.trace_ids), body.add_tags, body.remove_tags
    )
    return answer({"updated": changed})


@router.patch("/traces/{trace_id}", response_model=answers.Trace)
def update_trace(scope: Scope, trace_id: UUID, body: TraceUpdate) -> Response:
    """Change the fields in the request. Metadata is merged, tags are replaced, and null clears."""
    if body.name == "":
        _trace(scope, trace_id)
        raise EmptyNameError
    if not scope.services.traces.patch(scope.project_id, str(trace_id), body):
        raise not_found(f"Trace {trace_id}")
    if body.status is not None and body.status not in _UNFINISHED:
        scope.services.live.stored(str(trace_id))
    return answer({**_trace(scope, trace_id), **_as_sent(ended_at=body.ended_at)})


@router.post("/traces/{trace_id}/spans", status_code=201, response_model=answers.SpansAccepted)
def add_spans(
    scope: Scope, trace_id: UUID, spans: Annotated[list[SpanCreate], Body(min_length=1, max_length=MAX_SPANS)]
) -> Response:
    """Add or merge up to 500 spans. The trace's own fields stay, and no quota is used."""
    if not scope.services.traces.add_spans(scope.project_id, str(trace_id), spans):
        raise not_found(f"Trace {trace_id}")
    return answer({"span_ids": [str(span.span_id) for span in spans]}, 201)


@router.patch("/traces/{trace_id}/spans/{span_id}", response_model=answers.Span)
def update_span(scope: Scope, trace_id: UUID, span_id: UUID, body: SpanUpdate) -> Response:
    """Change the fields of a span in the request."""
    traces = scope.services.traces
    missing = HTTPException(404, f"Span {span_id} not found on trace {trace_id}.")
    if body.name == "":
        if traces.get_span(scope.project_id, str(trace_id), str(span_id)) is None:
            raise missing
        raise EmptyNameError
    if not traces.patch_span(scope.project_id, str(trace_id), str(span_id), body):
        raise missing
    span = traces.get_span(scope.project_id, str(trace_id), str(span_id))
    if span is None:
        raise missing
    sent = _as_sent(ended_at=body.ended_at, completion_start_time=body.completion_start_time)
    return answer({**span, **sent})


@router.delete("/traces/{trace_id}", status_code=204, response_model=None)
def delete_trace(scope: Scope, trace_id: UUID) -> None:
    """Delete a trace with its spans and scores."""
    if not scope.services.traces.delete(scope.project_id, [str(trace_id)]):
        raise not_found(f"Trace {trace_id}")


def _trace(scope: ProjectScope, trace_id: UUID) -> dict[str, Any]:
    found = scope.services.traces.get(scope.project_id, str(trace_id))
    if found is None:
        raise not_found(f"Trace {trace_id}")
    return found


def _as_sent(**moments: datetime | None) -> dict[str, str]:
    """Return moments with their original offset, as a PATCH does (measured on server 0.5.0)."""
    return {field: moment.isoformat() for field, moment in moments.items() if moment is not None}


@router.get("/traces", response_model=answers.Page[answers.TraceListItem])
def list_traces(
    scope: Scope,
    page: Page,
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
        after=started_after,
        before=started_before,
    )
    found = scope.services.queries.traces(scope.project_id, wanted, page, sort_by, sort_order)
    return listed(([*map(trace_list_record, found.rows)], found.total), page)


@router.get("/traces/users", response_model=answers.Page[answers.UserSummary])
def list_trace_users(scope: Scope, page: Page) -> Response:
    """List the users of traces, most recently seen first."""
    return listed(scope.services.queries.users(scope.project_id, page), page)


@router.get("/traces/{trace_id}", response_model=answers.Trace)
def get_trace(scope: Scope, trace_id: UUID) -> Response:
    """Return a trace with all its spans."""
    return answer(_trace(scope, trace_id))
