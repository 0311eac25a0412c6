"""Pages of sessions: a list, and one session as the turns of a conversation."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from pandaprobe_otel.api.fields import SessionSortBy
from pandaprobe_otel.local.pages.access import signed_in
from pandaprobe_otel.local.pages.navigation import context_of, plain
from pandaprobe_otel.local.pages.rendering import page
from pandaprobe_otel.local.pages.trace_pages import PAGE_SIZE
from pandaprobe_otel.local.store.queries import Slice
from pandaprobe_otel.local.store.records import span_record, trace_record
from pandaprobe_otel.local.store.trace_filter import TraceFilter
from pandaprobe_otel.local.times import milliseconds
from pandaprobe_otel.traces.conversation import as_messages
from pandaprobe_otel.traces.records import TraceRecord

router = APIRouter(prefix="/ui", include_in_schema=False, dependencies=[Depends(signed_in)])

TURNS_PER_PAGE = 50


@router.get("/sessions")
def show_sessions(
    request: Request,
    project: str | None = None,
    q: str = "",
    errors: str = "",
    sort: SessionSortBy = "recent",
    offset: Annotated[int, Query(ge=0, le=2**62)] = 0,
) -> Response:
    """Show the sessions of a project, the most recently active first."""
    context = context_of(request, project, "sessions")
    sessions, total = context.services.queries.sessions(
        context.project_id,
        TraceFilter(session_query=q or None),
        Slice(limit=PAGE_SIZE, offset=offset),
        sort,
        "desc",
        has_error=True if errors else None,
    )
    return page(
        "sessions.html",
        context=context,
        sessions=sessions,
        total=total,
        q=q,
        errors=bool(errors),
        sort=sort,
        offset=offset,
        page_size=PAGE_SIZE,
    )


@router.get("/session")
def show_session(
    request: Request, id: str, project: str | None = None, offset: Annotated[int, Query(ge=0, le=2**62)] = 0
) -> Response:
    """Show the inputs and outputs of a session, trace by trace. The id is a query value, so it may be any text."""
    context = context_of(request, project, "sessions")
    queries = context.services.queries
    summary = queries.session(context.project_id, id)
    if summary is None:
        return page("missing.html", status=404, context=context, what=f"session {id}")
    evaluation = context.services.evaluation
    turns: list[dict[str, Any]] = []
    for row, spans in queries.session_traces(context.project_id, id, Slice(limit=TURNS_PER_PAGE, offset=offset)):
        trace: dict[str, Any] = plain(trace_record(row, [span_record(span, row["trace_id"]) for span in spans]))
        trace["latency_ms"] = milliseconds(row["started_at"], row["ended_at"])
        trace["asked"] = as_messages(trace["input"], "user")
        trace["answered"] = as_messages(trace["output"], "assistant")
        trace["tools"] = [span for span in trace["spans"] if span["kind"] == "TOOL"]
        trace["failed"] = [span for span in TraceRecord(trace).spans if span.failed]
        scores = evaluation.trace_scores.latest_of_target(context.project_id, trace["trace_id"])
        trace["scores"] = [plain(evaluation.trace_scores.record(score)) for score in scores]
        turns.append(trace)
    scores = evaluation.session_scores.latest_of_target(context.project_id, id)
    return page(
        "session.html",
        context=context,
        session=summary,
        turns=turns,
        scores=[plain(evaluation.session_scores.record(score)) for score in scores],
        offset=offset,
        page_size=TURNS_PER_PAGE,
    )
