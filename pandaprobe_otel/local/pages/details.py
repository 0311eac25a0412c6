"""Pages of one thing: a trace, two traces compared, some traces to act on, a session, a failure, a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Depends, Query
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from pandaprobe_otel.failures.finding import FailureKind, next_steps
from pandaprobe_otel.judge.metrics import TRACE_METRICS
from pandaprobe_otel.local.live_traces import LiveTrace
from pandaprobe_otel.local.pages.document import ScoredTrace, html_document
from pandaprobe_otel.local.pages.rendering import page
from pandaprobe_otel.local.pages.site import PAGE_SIZE, Asked, Context, MissingPageError, context_of, pages_router
from pandaprobe_otel.local.pages.trace_facts import facts_of, tool_uses
from pandaprobe_otel.local.payloads import dumps, plain
from pandaprobe_otel.local.routing import answer
from pandaprobe_otel.local.search.language import search_for_score
from pandaprobe_otel.traces.comparison import diff_payloads, paired_spans
from pandaprobe_otel.traces.conversation import as_messages, turns_of
from pandaprobe_otel.traces.markdown import markdown
from pandaprobe_otel.traces.records import SpanRecord, TraceRecord

router = pages_router()

MOST_CHOSEN: Final = 200
Chosen = Annotated[list[UUID], Query(alias="trace", default_factory=list, max_length=MOST_CHOSEN)]
Form = Literal["html", "md", "json"]
View = Literal["timeline", "chat", "tools", "scores", "json"]
_TYPES: Final = {"html": "text/html", "md": "text/markdown", "json": "application/json"}


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


# -- a trace ----------------------------------------------------------------------------------------------------------


def _found(request: Request, trace_id: UUID) -> Loaded | None:
    """Return a trace of any project; None if it does not exist."""
    context = context_of(request, None, "traces")
    live = context.services.live.get(str(trace_id))
    for project in context.projects:
        found = context.services.traces.get(project.id, str(trace_id))
        if found is None and live is not None and live.project_id == project.id:
            shown = replace(context, project=project)
            return Loaded(context=shown, record=TraceRecord(live.record()), scores=[], live=live)
        if found is not None:
            break
    else:
        return None
    trace: dict[str, Any] = plain(found)
    if live is not None and live.project_id == project.id:
        known = {span["span_id"] for span in trace["spans"]}
        every = [*trace["spans"], *(span for span in live.record()["spans"] if span["span_id"] not in known)]
        trace["spans"] = sorted(every, key=lambda span: str(span["started_at"]))
    else:
        live = None
    (scores,) = plain(context.services.evaluation.trace_scores.latest(project.id, [str(trace_id)])).values()
    return Loaded(context=replace(context, project=project), record=TraceRecord(trace), scores=scores, live=live)


def _load(request: Request, trace_id: UUID) -> Loaded:
    if (found := _found(request, trace_id)) is None:
        raise MissingPageError(trace_id)
    return found


Shown = Annotated[Loaded, Depends(_load)]


@router.get("/traces/{trace_id}")
def show_trace(loaded: Shown, view: View = "timeline", span: str | None = None, q: str = "") -> Response:
    """Show a trace: its tree on a time axis with one span in detail, or its conversation, tools, scores or JSON."""
    record = loaded.record
    return page(
        "trace.html",
        context=loaded.context,
        trace=loaded.trace,
        record=record,
        axis_ms=record.length_ms if loaded.live is None else _stepped(record.length_ms),
        facts=facts_of(record),
        scores=loaded.scores,
        failures=loaded.context.services.failures.of_trace(loaded.context.project_id, record.trace_id),
        view=view,
        q=q,
        hits=_hits(record, q),
        selected=record.by_id.get(span or ""),
        turns=turns_of(record.tree) if view == "chat" else [],
        tools=tool_uses(record.tree) if view == "tools" else [],
        live=loaded.live,
    )


@router.get("/traces/{trace_id}/spans/{span_id}")
def show_span(loaded: Shown, span_id: UUID) -> Response:
    """Return the details of one span, for the page of its trace."""
    if (node := loaded.record.by_id.get(str(span_id))) is None:
        raise MissingPageError(span_id)
    return page("_span.html", trace=loaded.trace, record=loaded.record, node=node, context=loaded.context)


@router.get("/traces/{trace_id}/summary")
def show_summary(loaded: Shown) -> Response:
    """Return the details of the trace itself, for its page."""
    record, facts = loaded.record, facts_of(loaded.record)
    trace, scores, context = loaded.trace, loaded.scores, loaded.context
    return page("_summary.html", trace=trace, record=record, facts=facts, scores=scores, context=context)


@router.get("/traces/{trace_id}/markdown")
def show_markdown(loaded: Shown, span: str | None = None) -> Response:
    """Return a trace, or a span with its descendants, as Markdown."""
    return PlainTextResponse(markdown(loaded.record, loaded.record.by_id.get(span or "")))


@router.get("/traces/{trace_id}/raw")
def show_raw(loaded: Shown) -> Response:
    """Return a trace as the API returns it."""
    return answer(loaded.trace)


def _hits(record: TraceRecord, q: str) -> set[str] | None:
    """Return the ids of the spans that contain a text; None without a text."""
    wanted = q.strip().lower()
    return {node.id for node in record.tree if _contains(node, wanted)} if wanted else None


def _contains(node: SpanRecord, wanted: str) -> bool:
    span = node.body
    looked_at = (span["name"], span["model"], span["error"], span["input"], span["output"], span["metadata"])
    return any(wanted in str(value).lower() for value in looked_at if value is not None)


def _stepped(length_ms: float) -> float:
    """Return the next of 1, 2, 5, 10, ... as the length of an axis, so that it does not change with every span."""
    size = 1.0
    while size * 10 < length_ms:
        size *= 10
    return next((size * factor for factor in (1, 2, 5, 10) if size * factor >= length_ms), length_ms)


# -- several traces ---------------------------------------------------------------------------------------------------


@router.get("/diff")
def show_diff(request: Request, chosen: Chosen) -> Response:
    """Show two traces: common spans, spans that only one has, and the differences."""
    loaded = [_found(request, trace_id) for trace_id in chosen[:2]]
    if len(loaded) != 2 or loaded[0] is None or loaded[1] is None:
        return page("diff.html", context=context_of(request, None, "traces"), pair=None, chosen=len(chosen))
    left, right = loaded[0], loaded[1]
    scores = [{score["name"]: score for score in one.scores} for one in (left, right)]
    return page(
        "diff.html",
        context=left.context,
        pair=(left, right),
        chosen=2,
        rows=paired_spans(left.record, right.record),
        totals=(_totals(left.record), _totals(right.record)),
        payloads=[(name, diff_payloads(left.trace[name], right.trace[name])) for name in ("input", "output")],
        scores=[(name, *(of_one.get(name) for of_one in scores)) for name in sorted({*scores[0], *scores[1]})],
    )


def _totals(record: TraceRecord) -> dict[str, float]:
    return {
        "duration_ms": record.length_ms,
        "spans": len(record.spans),
        "tokens": record.body["total_tokens"],
        "cost": record.body["total_cost"],
        "errors": sum(span.failed for span in record.spans),
    }


@router.get("/selected")
def show_selected(request: Request, chosen: Chosen) -> Response:
    """Show the actions for the selected traces."""
    loaded = _loaded(request, chosen)
    if not loaded:
        return _none_of(request, chosen)
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
        return _none_of(request, chosen)
    if form == "html":
        records = [ScoredTrace(trace=one.trace, scores=one.scores) for one in loaded]
        text = html_document(records, str(loaded[0].trace["name"]))
    elif form == "md":
        text = "\n".join(markdown(one.record) for one in loaded)
    else:
        text = dumps([one.trace for one in loaded]).decode()
    name = f'attachment; filename="traces.{form}"'
    return Response(text, media_type=_TYPES[form], headers={"content-disposition": name})


def _loaded(request: Request, chosen: Sequence[UUID]) -> list[Loaded]:
    """Return the selected traces of one project, that of the first trace. Duplicates and deleted traces are omitted."""
    found = [one for trace_id in dict.fromkeys(chosen) if (one := _found(request, trace_id)) is not None]
    return [one for one in found if one.context.project_id == found[0].context.project_id]


def _none_of(request: Request, chosen: Sequence[UUID]) -> Response:
    if chosen:
        raise MissingPageError(", ".join(map(str, chosen[:3])))
    context = context_of(request, None, "traces")
    return page("refused.html", status=422, context=context, reason="Choose a trace.", back="/ui")


# -- a session, a failure, a run --------------------------------------------------------------------------------------


@router.get("/session")
def show_session(request: Request, id: str, asked: Annotated[Asked, Query()]) -> Response:
    """Show the inputs and outputs of a session, trace by trace. The id is a query value, so it may be any text."""
    context = context_of(request, asked.project, "sessions")
    queries, evaluation = context.services.queries, context.services.evaluation
    summary = queries.session(context.project_id, id)
    if summary is None:
        raise MissingPageError(f"session {id}")
    turns: list[dict[str, Any]] = []
    for trace in plain(queries.session_traces(context.project_id, id, asked.page)):
        record_of = TraceRecord(trace)
        trace["latency_ms"] = record_of.duration_ms
        trace["asked"] = as_messages(trace["input"], "user")
        trace["answered"] = as_messages(trace["output"], "assistant")
        trace["failed"] = [span for span in record_of.spans if span.failed]
        turns.append(trace)
    scores = evaluation.trace_scores.latest(context.project_id, [trace["trace_id"] for trace in turns])
    for trace in turns:
        trace["scores"] = plain(scores[trace["trace_id"]])
    return page(
        "session.html",
        context=context,
        session=summary,
        turns=turns,
        scores=plain(evaluation.session_scores.latest(context.project_id, [id])[id]),
        asked=asked,
        page_size=PAGE_SIZE,
    )


@router.get("/failures/{fingerprint}")
def show_failure(request: Request, fingerprint: str, asked: Annotated[Asked, Query()]) -> Response:
    """Show a group: its cause, its traces from newest to oldest, and commands for the next steps."""
    context = context_of(request, asked.project, "failures")
    failures = context.services.failures
    group = failures.get(context.project_id, fingerprint, now=context.services.now())
    if group is None:
        raise MissingPageError(f"failure {fingerprint}")
    project = "" if context.project is None else context.project.name
    steps = next_steps(
        FailureKind(group["kind"]),
        group["parts"],
        name=group["name"],
        trace_id=group["example"]["trace_id"],
        options=(f"--project={project}", f"--endpoint={str(request.base_url).rstrip('/')}"),
    )
    examples = failures.examples(context.project_id, fingerprint, asked.page)
    return page(
        "failure.html",
        context=context,
        failure=group,
        examples=examples,
        steps=steps,
        asked=asked,
        page_size=PAGE_SIZE,
    )


@router.get("/runs/{run_id}")
def show_run(request: Request, run_id: UUID, project: str | None = None) -> Response:
    """Show a run and its scores, lowest first."""
    context = context_of(request, project, "evaluations")
    evaluation = context.services.evaluation
    row = evaluation.runs.get(context.project_id, str(run_id))
    if row is None:
        raise MissingPageError(f"run {run_id}")
    run = plain(evaluation.runs.record(row))
    store = evaluation.session_scores if run["target_type"] == "SESSION" else evaluation.trace_scores
    scores: list[dict[str, Any]] = plain(store.of_run(context.project_id, str(run_id)))
    numbers: dict[str, list[float]] = {}
    for score in scores:
        value = score["value"] if score["data_type"] == "NUMERIC" else None
        score["number"] = 0.0 if value is None else float(value)
        if value is not None:
            numbers.setdefault(score["name"], []).append(score["number"])
    scores.sort(key=lambda score: (score["value"] is not None, score["number"], score["name"]))
    means = [(name, sum(found) / len(found), search_for_score(name)) for name, found in sorted(numbers.items())]
    return page("run.html", context=context, run=run, scores=scores, means=means)
