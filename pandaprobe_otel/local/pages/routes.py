"""The routes of the pages, all under /ui so that the API keeps its paths for itself."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from pandaprobe_otel.local.models.fields import SortOrder
from pandaprobe_otel.local.models.traces import SessionSortBy, TraceSortBy
from pandaprobe_otel.local.pages.rendering import page
from pandaprobe_otel.local.pages.tree import build_tree
from pandaprobe_otel.local.payloads import dumps, loads
from pandaprobe_otel.local.services import Services, services_of
from pandaprobe_otel.local.store.queries import Slice, TraceFilter
from pandaprobe_otel.local.store.records import span_record, trace_list_record, trace_record

router = APIRouter(prefix="/ui", include_in_schema=False)

_PAGE_SIZE = 50


@router.get("")
def show_traces(request: Request, project: str | None = None, offset: Annotated[int, Query(ge=0)] = 0) -> Response:
    """Show the traces of a project, newest first."""
    services = services_of(request)
    projects, chosen = _projects(services, project)
    rows, total = services.queries.traces(
        chosen, TraceFilter(), Slice(limit=_PAGE_SIZE, offset=offset), TraceSortBy.STARTED_AT, SortOrder.DESC
    )
    traces = loads(dumps([trace_list_record(row) for row in rows]).decode())
    return page("traces.html", projects=projects, project=chosen, traces=traces, total=total, active="traces")


@router.get("/sessions")
def show_sessions(request: Request, project: str | None = None) -> Response:
    """Show the sessions of a project, the last to arrive first."""
    services = services_of(request)
    projects, chosen = _projects(services, project)
    sessions, total = services.queries.sessions(
        chosen, TraceFilter(), Slice(limit=_PAGE_SIZE, offset=0), SessionSortBy.RECENT, SortOrder.DESC
    )
    return page("sessions.html", projects=projects, project=chosen, sessions=sessions, total=total, active="sessions")


@router.get("/session")
def show_session(request: Request, project: str, id: str) -> Response:
    """Show a session as turns."""
    services = services_of(request)
    projects, chosen = _projects(services, project)
    found = services.queries.session_traces(chosen, id, Slice(limit=200, offset=0))
    turns = loads(dumps([trace_record(row, []) for row, _ in found]).decode())
    return page("session.html", projects=projects, project=chosen, session_id=id, turns=turns, active="sessions")


@router.get("/traces/{trace_id}")
def show_trace(request: Request, trace_id: UUID) -> Response:
    """Show a trace."""
    services = services_of(request)
    projects, _ = _projects(services, None)
    for project in projects:
        found = services.traces.get(project["id"], str(trace_id))
        if found is not None:
            row, spans = found
            record = trace_record(row, [span_record(span, row["trace_id"]) for span in spans])
            trace: dict[str, Any] = loads(dumps(record).decode())
            tree = build_tree(trace["spans"])
            return page("trace.html", projects=projects, project=project["id"], trace=trace, tree=tree, active="traces")
    return page("missing.html", status=404, projects=projects, project="", what=f"trace {trace_id}", active="traces")


def _projects(services: Services, wanted: str | None) -> tuple[list[dict[str, str]], str]:
    accounts = services.accounts
    found = [
        {"id": project.id, "name": project.name}
        for organization in accounts.organizations()
        for project in accounts.projects(organization.id)
    ]
    chosen = next((project["id"] for project in found if project["id"] == wanted), found[-1]["id"] if found else "")
    return found, chosen
