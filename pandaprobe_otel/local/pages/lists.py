"""Pages with lists: traces, sessions, failures, evaluations and monitors."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from pandaprobe_otel.api.fields import SessionSortBy, SortOrder, TraceSortBy
from pandaprobe_otel.local.pages.rendering import page
from pandaprobe_otel.local.pages.site import PAGE_SIZE, Asked, Context, context_of, pages_router, state_of
from pandaprobe_otel.local.payloads import plain
from pandaprobe_otel.local.routing import answer
from pandaprobe_otel.local.search.language import narrowed, search_for_score
from pandaprobe_otel.local.search.searchable_fields import FIELDS
from pandaprobe_otel.local.services import services_of
from pandaprobe_otel.local.store.analytics import SUMMARY
from pandaprobe_otel.local.store.labels import COUNTED
from pandaprobe_otel.local.store.queries import Listing
from pandaprobe_otel.local.store.records import trace_list_record, where_of
from pandaprobe_otel.local.store.trace_filter import TraceFilter
from pandaprobe_otel.traces.conversation import preview

router = pages_router()


class AskedTraces(Asked, frozen=True):
    """Query of the list of traces."""

    sort: TraceSortBy = "started_at"
    order: SortOrder = "desc"

    @property
    def kept(self) -> dict[str, Any]:
        """Values that links to other pages of the list repeat."""
        return {"q": self.q, "sort": self.sort, "order": self.order}

    def with_term(self, term: str, *, excluded: bool = False) -> dict[str, Any]:
        """Return the values of a link to the list with one more term, or without the term if it is there."""
        wanted = f"-{term}" if excluded else term
        others = f" {self.q} ".replace(f" -{term} ", " ").replace(f" {term} ", " ").strip()
        return {**self.kept, "q": others if self.has(wanted) else narrowed(others, wanted)}

    def has(self, term: str) -> bool:
        """Return whether `q` contains a term."""
        return f" {term} " in f" {self.q} "


class AskedSessions(Asked, frozen=True):
    """Query of the list of sessions. `q` is a part of the id."""

    errors: str = ""
    sort: SessionSortBy = "recent"


def _listed(template: str, context: Context, asked: Asked, **values: Any) -> Response:
    return page(template, context=context, asked=asked, page_size=PAGE_SIZE, **values)


@router.get("")
def show_traces(request: Request, asked: Annotated[AskedTraces, Query()]) -> Response:
    """Show the traces of a project, newest first."""
    context = context_of(request, asked.project, "traces")
    services = context.services
    found, notes, wrong = context.searched(
        asked.q,
        lambda search: services.queries.traces(
            context.project_id, TraceFilter(search=search), asked.page, asked.sort, asked.order, counted=COUNTED
        ),
    )
    listing = found or Listing(rows=[], total=0, facets={})
    traces = [plain(trace_list_record(row)) for row in listing.rows]
    _complete(context, traces)
    return _listed(
        "traces.html",
        context,
        asked,
        facets=listing.facets,
        counted=COUNTED,
        traces=traces,
        total=listing.total,
        notes=notes,
        wrong=wrong,
        fields=FIELDS.values(),
        running=[] if asked.q or asked.offset else services.live.of_project(context.project_id),
        longest_ms=max((trace["latency_ms"] or 0 for trace in traces), default=0),
        base_url=str(request.base_url).rstrip("/"),
        needs_key=services.settings.auth,
    )


def _complete(context: Context, traces: list[dict[str, Any]]) -> None:
    """Add the beginnings of questions, the outcomes and the latest scores to the traces of a list."""
    ids = [trace["trace_id"] for trace in traces]
    contents = context.services.queries.payloads(ids)
    scores = context.services.evaluation.trace_scores.latest(context.project_id, ids)
    for trace in traces:
        given, outcome = contents.get(trace["trace_id"], (None, None))
        trace["metadata"], trace["asked"] = {"outcome": outcome}, preview(given)
        trace["scores"] = plain(scores[trace["trace_id"]])


@router.get("/complete")
def complete(request: Request, term: str = "", project: str | None = None) -> Response:
    """Return the completions of a search term, for the script of the search field."""
    context = context_of(request, project, "traces")
    found = context.services.queries.proposals(context.project_id, term[:200])
    return answer([asdict(proposal) for proposal in found])


@router.get("/latest")
def show_latest(request: Request, trace: UUID | None = None) -> Response:
    """Return a text that changes with the store, or with a running trace. Pages poll it to show what is new."""
    services = services_of(request)
    if trace is None:
        return PlainTextResponse(state_of(services))
    live = services.live.get(str(trace))
    return PlainTextResponse("settled" if live is None else str(live.version))


@router.get("/sessions")
def show_sessions(request: Request, asked: Annotated[AskedSessions, Query()]) -> Response:
    """Show the sessions of a project, the most recently active first."""
    context = context_of(request, asked.project, "sessions")
    sessions, total = context.services.queries.sessions(
        context.project_id,
        TraceFilter(session_query=asked.q or None),
        asked.page,
        asked.sort,
        "desc",
        has_error=True if asked.errors else None,
    )
    return _listed("sessions.html", context, asked, sessions=sessions, total=total)


@router.get("/failures")
def show_failures(request: Request, asked: Annotated[Asked, Query()]) -> Response:
    """Show the failure groups of a project, those with most traces first."""
    context = context_of(request, asked.project, "failures")
    failures = context.services.failures
    found, _, wrong = context.searched(asked.q, lambda search: failures.find(context.project_id, search, asked.page))
    return _listed("failures.html", context, asked, found=found, wrong=wrong)


@router.get("/evaluations")
def show_evaluations(request: Request, asked: Annotated[Asked, Query()]) -> Response:
    """Show the figures of each metric, and the runs."""
    context = context_of(request, asked.project, "evaluations")
    services = context.services
    rows, total = services.evaluation.runs.find(where_of(context.project_id, {}), asked.page)
    metrics = [
        {**metric, "of": of, "search": search_for_score(metric["metric_name"]) if of == "traces" else None}
        for of, table in (("traces", "trace_scores"), ("sessions", "session_scores"))
        for metric in services.analytics.rows(SUMMARY, context.project_id, table=table)
    ]
    return _listed(
        "evaluations.html",
        context,
        asked,
        metrics=metrics,
        runs=plain(rows),
        total=total,
        provider=services.evaluation.judge.provider,
    )


@router.get("/monitors")
def show_monitors(request: Request, asked: Annotated[Asked, Query()]) -> Response:
    """Show the monitors of a project."""
    context = context_of(request, asked.project, "monitors")
    found, total = context.services.evaluation.monitors.find(where_of(context.project_id, {}), asked.page)
    return _listed("monitors.html", context, asked, monitors=plain(found), total=total)
