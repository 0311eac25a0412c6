"""Pages of traces: the list, and a single trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from pandaprobe_otel.local.live_traces import LiveTrace
from pandaprobe_otel.local.pages.access import signed_in
from pandaprobe_otel.local.pages.list_filters import COLUMNS, ListFilters
from pandaprobe_otel.local.pages.live_pages import merged, running_record, stepped
from pandaprobe_otel.local.pages.navigation import Context, context_of, plain, state_of
from pandaprobe_otel.local.pages.rendering import page
from pandaprobe_otel.local.pages.tools import tool_uses
from pandaprobe_otel.local.pages.trace_facts import facts_of
from pandaprobe_otel.local.routing import answer
from pandaprobe_otel.local.search.searchable_fields import FIELDS, SearchError
from pandaprobe_otel.local.services import services_of
from pandaprobe_otel.local.store.labels import COUNTED
from pandaprobe_otel.local.store.queries import Listing, Slice
from pandaprobe_otel.local.store.records import span_record, trace_list_record, trace_record
from pandaprobe_otel.traces.conversation import preview, turns_of
from pandaprobe_otel.traces.markdown import markdown
from pandaprobe_otel.traces.records import SpanRecord, TraceRecord

router = APIRouter(prefix="/ui", include_in_schema=False, dependencies=[Depends(signed_in)])

PAGE_SIZE: Final = 50
View = Literal["timeline", "chat", "tools", "scores", "json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A trace as shown on pages."""

    context: Context
    record: TraceRecord
    scores: list[dict[str, Any]]
    live: LiveTrace | None = None
    """The running trace, if some or all of its spans are not stored yet."""

    @property
    def trace(self) -> Mapping[str, Any]:
        """The trace as the API returns it."""
        return self.record.body


@router.get("")
def show_traces(request: Request, asked: Annotated[ListFilters, Query()]) -> Response:
    """Show the traces of a project, newest first."""
    context = context_of(request, asked.project, "traces")
    found, notes, wrong = _found(context, asked)
    traces = [plain(trace_list_record(row)) for row in found.rows]
    _add_previews(context, traces)
    if "scores" in asked.show:
        _add_scores(context, traces)
    return page(
        "traces.html",
        facets=found.facets,
        counted=COUNTED,
        context=context,
        traces=traces,
        total=found.total,
        asked=asked,
        notes=notes,
        wrong=wrong,
        fields=FIELDS.values(),
        all_columns=COLUMNS,
        page_size=PAGE_SIZE,
        running=[] if asked.chosen or asked.offset else context.services.live.of_project(context.project_id),
        longest_ms=max((trace["latency_ms"] or 0 for trace in traces), default=0),
        base_url=str(request.base_url).rstrip("/"),
        needs_key=context.services.settings.auth,
    )


def _found(context: Context, asked: ListFilters) -> tuple[Listing, tuple[str, ...], SearchError | None]:
    """Return a page of traces, notes on the search, and its error, if any."""
    now = context.services.now()
    try:
        listing = context.services.queries.traces(
            context.project_id,
            asked.trace_filter(now),
            Slice(limit=PAGE_SIZE, offset=asked.offset),
            asked.sort,
            asked.order,
            counted=COUNTED,
        )
    except SearchError as error:
        return Listing(rows=[], total=0, facets={}), (), error
    return listing, asked.parsed.notes, None


@router.get("/complete")
def complete(request: Request, term: str = "", project: str | None = None) -> Response:
    """Return the completions of a search term, for the script of the search field."""
    context = context_of(request, project, "traces")
    found = context.services.queries.proposals(context.project_id, term[:200])
    return answer([asdict(proposal) for proposal in found])


@router.get("/latest")
def show_latest(request: Request) -> Response:
    """Return a text that changes with the store. Pages poll it and reload themselves when it has changed."""
    return PlainTextResponse(state_of(services_of(request)))


@router.get("/traces/{trace_id}")
def show_trace(
    request: Request, trace_id: UUID, view: View = "timeline", span: str | None = None, q: str = ""
) -> Response:
    """Show a trace: its tree on a time axis with one span in detail, or its conversation, tools, scores or JSON."""
    loaded = _load(request, trace_id)
    if loaded is None:
        return _missing(request, trace_id)
    record, trace = loaded.record, loaded.trace
    newer, older = _neighbours(loaded)
    return page(
        "trace.html",
        context=loaded.context,
        trace=trace,
        record=record,
        axis_ms=record.length_ms if loaded.live is None else stepped(record.length_ms),
        facts=facts_of(record),
        scores=loaded.scores,
        failures=loaded.context.services.failures.of_trace(loaded.context.project_id, str(trace_id)),
        view=view,
        q=q,
        hits=_hits(record, q),
        selected=record.by_id.get(span or ""),
        turns=turns_of(record.tree) if view == "chat" else [],
        tools=tool_uses(record.tree) if view == "tools" else [],
        newer=newer,
        older=older,
        live=loaded.live,
    )


@router.get("/traces/{trace_id}/spans/{span_id}")
def show_span(request: Request, trace_id: UUID, span_id: UUID) -> Response:
    """Return the details of one span, for the page of its trace."""
    loaded = _load(request, trace_id)
    node = None if loaded is None else loaded.record.by_id.get(str(span_id))
    if loaded is None or node is None:
        return _missing(request, span_id)
    return page("_span.html", trace=loaded.trace, record=loaded.record, node=node, context=loaded.context)


@router.get("/traces/{trace_id}/summary")
def show_summary(request: Request, trace_id: UUID) -> Response:
    """Return the details of the trace itself, for its page."""
    loaded = _load(request, trace_id)
    if loaded is None:
        return _missing(request, trace_id)
    return page(
        "_summary.html",
        trace=loaded.trace,
        record=loaded.record,
        facts=facts_of(loaded.record),
        scores=loaded.scores,
        context=loaded.context,
    )


@router.get("/traces/{trace_id}/markdown")
def show_markdown(request: Request, trace_id: UUID, span: str | None = None) -> Response:
    """Return a trace, or a span with its descendants, as Markdown."""
    loaded = _load(request, trace_id)
    if loaded is None:
        return _missing(request, trace_id)
    return PlainTextResponse(markdown(loaded.record, loaded.record.by_id.get(span or "")))


@router.get("/traces/{trace_id}/raw")
def show_raw(request: Request, trace_id: UUID) -> Response:
    """Return a trace as the API returns it."""
    loaded = _load(request, trace_id)
    if loaded is None:
        return _missing(request, trace_id)
    return answer(loaded.trace)


def load_trace(request: Request, trace_id: UUID, active: str = "traces") -> Loaded | None:
    """Return a trace of any project; None if it does not exist."""
    context = context_of(request, None, active)
    live = context.services.live.get(str(trace_id))
    for project in context.projects:
        found = context.services.traces.get(project.id, str(trace_id))
        if found is not None:
            break
    else:
        return None if live is None or not live.spans else _running(context, live)
    row, spans = found
    trace: dict[str, Any] = plain(trace_record(row, [span_record(span, row["trace_id"]) for span in spans]))
    if live is not None and live.project_id == project.id:
        trace = merged(trace, live)
    store = context.services.evaluation.trace_scores
    return Loaded(
        context=replace(context, project=project),
        record=TraceRecord(trace),
        scores=[plain(store.record(score)) for score in store.latest_of_target(project.id, str(trace_id))],
        live=live if live is not None and live.project_id == project.id else None,
    )


def _running(context: Context, live: LiveTrace) -> Loaded:
    """Return a running trace without any stored part."""
    project = next((each for each in context.projects if each.id == live.project_id), context.project)
    record = TraceRecord(running_record(live))
    return Loaded(context=replace(context, project=project), record=record, scores=[], live=live)


_load = load_trace


def _missing(request: Request, what: UUID) -> Response:
    return page("missing.html", status=404, context=context_of(request, None, "traces"), what=str(what))


def _add_previews(context: Context, traces: list[dict[str, Any]]) -> None:
    found = context.services.queries.payloads([trace["trace_id"] for trace in traces])
    for trace in traces:
        given, answered, outcome = found.get(trace["trace_id"], (None, None, None))
        trace["metadata"] = {"outcome": outcome}
        trace["asked"], trace["answered"] = preview(given), preview(answered)


def _add_scores(context: Context, traces: list[dict[str, Any]]) -> None:
    store = context.services.evaluation.trace_scores
    found = store.latest_of_targets(context.project_id, [trace["trace_id"] for trace in traces])
    for trace in traces:
        trace["scores"] = [plain(store.record(score)) for score in found.get(trace["trace_id"], ())]


def _neighbours(loaded: Loaded) -> tuple[str | None, str | None]:
    return loaded.context.services.queries.neighbours(loaded.context.project_id, loaded.trace["trace_id"])


def _hits(record: TraceRecord, q: str) -> set[str] | None:
    """Return the ids of the spans that contain a text; None without a text."""
    wanted = q.strip().lower()
    return {node.id for node in record.tree if _contains(node, wanted)} if wanted else None


def _contains(node: SpanRecord, wanted: str) -> bool:
    span = node.body
    looked_at = (span["name"], span["model"], span["error"], span["input"], span["output"], span["metadata"])
    return any(wanted in str(value).lower() for value in looked_at if value is not None)
