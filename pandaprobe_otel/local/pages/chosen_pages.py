"""Pages of selected traces: actions, export, and annotation one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from pandaprobe_otel.local.evaluation.catalogue import TRACE_METRICS
from pandaprobe_otel.local.pages.access import signed_in
from pandaprobe_otel.local.pages.document import ScoredTrace, html_document
from pandaprobe_otel.local.pages.navigation import context_of
from pandaprobe_otel.local.pages.page_actions import RATINGS
from pandaprobe_otel.local.pages.rendering import page
from pandaprobe_otel.local.pages.trace_pages import Loaded, load_trace
from pandaprobe_otel.local.payloads import dumps
from pandaprobe_otel.local.services import Services
from pandaprobe_otel.traces.conversation import turns_of
from pandaprobe_otel.traces.markdown import markdown

router = APIRouter(prefix="/ui", include_in_schema=False, dependencies=[Depends(signed_in)])

MOST_CHOSEN: Final = 200
Chosen = Annotated[list[UUID], Query(alias="trace", default_factory=list, max_length=MOST_CHOSEN)]
Form = Literal["html", "md", "json"]
_TYPES: Final = {"html": "text/html", "md": "text/markdown", "json": "application/json"}


@router.get("/selected")
def show_selected(request: Request, chosen: Chosen) -> Response:
    """Show the actions for the selected traces."""
    loaded = _loaded(request, chosen)
    if not loaded:
        return _missing(request, chosen)
    context, ids = loaded[0].context, [one.trace["trace_id"] for one in loaded]
    return page(
        "selected.html",
        context=context,
        traces=[one.trace for one in loaded],
        query=urlencode([("trace", each) for each in ids]),
        metrics=TRACE_METRICS,
        has_judge=context.services.evaluation.judge.provider is not None,
    )


@router.get("/selected/export")
def export(request: Request, chosen: Chosen, form: Form = "html") -> Response:
    """Return the selected traces as a file: a self-contained page, Markdown, or JSON."""
    loaded = _loaded(request, chosen)
    if not loaded:
        return _missing(request, chosen)
    if form == "html":
        records = [ScoredTrace(trace=one.trace, scores=one.scores) for one in loaded]
        text = html_document(records, str(loaded[0].trace["name"]))
    elif form == "md":
        text = "\n".join(markdown(one.record) for one in loaded)
    else:
        text = dumps([one.trace for one in loaded]).decode()
    name = f'attachment; filename="traces.{form}"'
    return Response(text, media_type=_TYPES[form], headers={"content-disposition": name})


@router.get("/annotate")
def annotate(
    request: Request,
    chosen: Chosen,
    name: Annotated[str, Query(min_length=1, max_length=255)] = "quality",
    at: Annotated[int, Query(ge=0, le=MOST_CHOSEN)] = 0,
) -> Response:
    """Show one trace of a queue with a form for its score, and the numbers of traces with and without a score."""
    ids = [str(each) for each in chosen]
    here = None if at >= len(ids) else load_trace(request, chosen[at])
    context = context_of(request, None, "traces") if here is None else here.context
    open_ones = _without_score(context.services, ids, name)
    return page(
        "annotate.html",
        context=context,
        trace=None if here is None else here.trace,
        trace_id=ids[at] if at < len(ids) else None,
        turns=[] if here is None else turns_of(here.record.tree),
        given=[] if here is None else [score for score in here.scores if score["name"] == name],
        ratings=RATINGS,
        name=name,
        at=at,
        count=len(ids),
        left=open_ones,
        links={
            "next": _link(ids, name, at + 1),
            "previous": _link(ids, name, at - 1) if at else None,
            "open": _link(ids, name, open_ones[0]) if open_ones else None,
        },
    )


def _link(ids: Sequence[str], name: str, at: int) -> str:
    return f"/ui/annotate?{urlencode([('name', name), ('at', at), *(('trace', each) for each in ids)])}"


def _without_score(services: Services, ids: Sequence[str], name: str) -> list[int]:
    """Return the positions of the traces without a score by hand under this name, including deleted traces."""
    store = services.evaluation.trace_scores
    found: list[int] = []
    for position, trace_id in enumerate(ids):
        rows = [row for project in _projects(services) for row in store.of_target(project, trace_id)]
        by_hand = [row for row in rows if row["name"] == name and row["source"] == "ANNOTATION"]
        if not by_hand:
            found.append(position)
    return found


def _projects(services: Services) -> list[str]:
    accounts = services.accounts
    return [found.id for organization in accounts.organizations() for found in accounts.projects(organization.id)]


def _loaded(request: Request, chosen: Sequence[UUID]) -> list[Loaded]:
    """Return the selected traces of one project, that of the first trace. Duplicates and deleted traces are omitted."""
    found = [one for trace_id in dict.fromkeys(chosen) if (one := load_trace(request, trace_id)) is not None]
    return [one for one in found if one.context.project_id == found[0].context.project_id]


def _missing(request: Request, chosen: Sequence[UUID]) -> Response:
    context = context_of(request, None, "traces")
    if not chosen:
        return page("refused.html", status=422, context=context, reason="Choose a trace.", back="/ui")
    return page("missing.html", status=404, context=context, what=", ".join(map(str, chosen[:3])))
