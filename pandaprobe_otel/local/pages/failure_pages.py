"""Pages of failures: the list of groups, and a single group."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from pandaprobe_otel.failures.finding import FailureKind
from pandaprobe_otel.failures.next_steps import next_steps
from pandaprobe_otel.local.pages.access import signed_in
from pandaprobe_otel.local.pages.navigation import context_of
from pandaprobe_otel.local.pages.rendering import page
from pandaprobe_otel.local.search.language import parse
from pandaprobe_otel.local.search.searchable_fields import SearchError
from pandaprobe_otel.local.store.trace_filter import Search

router = APIRouter(prefix="/ui", include_in_schema=False, dependencies=[Depends(signed_in)])

PAGE_SIZE: Final = 50
From = Annotated[int, Query(ge=0, le=2**62)]


@router.get("/failures")
def show_failures(request: Request, q: str = "", project: str | None = None, offset: From = 0) -> Response:
    """Show the failure groups of a project, those with most traces first."""
    context = context_of(request, project, "failures")
    found, wrong = None, None
    try:
        search = Search(query=parse(q).query, now=context.services.now())
        found = context.services.failures.find(context.project_id, search, limit=PAGE_SIZE, offset=offset)
    except SearchError as error:
        wrong = error
    return page("failures.html", context=context, q=q, found=found, wrong=wrong, offset=offset, page_size=PAGE_SIZE)


@router.get("/failures/{fingerprint}")
def show_failure(request: Request, fingerprint: str, project: str | None = None, offset: From = 0) -> Response:
    """Show a group: its cause, its traces from newest to oldest, and commands for the next steps."""
    context = context_of(request, project, "failures")
    failures = context.services.failures
    group = failures.get(context.project_id, fingerprint, now=context.services.now())
    if group is None:
        return page("missing.html", status=404, context=context, what=f"failure {fingerprint}")
    project_name = "" if context.project is None else context.project.name
    steps = next_steps(
        FailureKind(group["kind"]),
        group["parts"],
        name=group["name"],
        trace_id=group["example"]["trace_id"],
        options=(f"--project={project_name}", f"--endpoint={str(request.base_url).rstrip('/')}"),
    )
    return page(
        "failure.html",
        context=context,
        failure=group,
        examples=failures.examples(context.project_id, fingerprint, limit=PAGE_SIZE, offset=offset),
        steps=steps,
        offset=offset,
        page_size=PAGE_SIZE,
    )
