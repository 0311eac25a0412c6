"""Evaluation runs of traces and of sessions."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from pandaprobe_otel.api import models as answers
from pandaprobe_otel.api.fields import EvaluationStatus
from pandaprobe_otel.local.auth import ProjectScope, Scope
from pandaprobe_otel.local.errors import not_found, refused
from pandaprobe_otel.local.evaluation.selection import sample
from pandaprobe_otel.local.evaluation.service import check_metrics
from pandaprobe_otel.local.models.evaluations import (
    CreateSessionBatchRun,
    CreateSessionRun,
    CreateTraceBatchRun,
    CreateTraceRun,
    NewRun,
)
from pandaprobe_otel.local.routing import ApiRoute, Page, answer, listed
from pandaprobe_otel.local.store.evaluations import ScoreStore, parsed
from pandaprobe_otel.local.store.records import where_of

router = APIRouter(route_class=ApiRoute, tags=["evaluations"], prefix="/evaluations")

Status = Annotated[EvaluationStatus | None, Query()]
_WEIGHTS: Final = "signal_weights"


@router.post("/trace-runs", status_code=202, response_model=answers.EvalRun)
def create_eval_run(scope: Scope, body: CreateTraceRun) -> Response:
    """Evaluate the traces that match filters."""
    return _start(scope, "trace", body)


@router.post("/trace-runs/batch", status_code=202, response_model=answers.EvalRun)
def create_batch_eval_run(scope: Scope, body: CreateTraceBatchRun) -> Response:
    """Evaluate traces by id. Unknown ids count as evaluated and get no score."""
    return _start(scope, "trace", body, [*map(str, body.trace_ids)])


@router.post("/session-runs", status_code=202, response_model=answers.EvalRun)
def create_session_eval_run(scope: Scope, body: CreateSessionRun) -> Response:
    """Evaluate the sessions that match filters."""
    return _start(scope, "session", body)


@router.post("/session-runs/batch", status_code=202, response_model=answers.EvalRun)
def create_batch_session_eval_run(scope: Scope, body: CreateSessionBatchRun) -> Response:
    """Evaluate sessions by id. Unknown ids count as evaluated and get no score."""
    return _start(scope, "session", body, body.session_ids)


def _start(scope: ProjectScope, kind: str, body: NewRun, ids: Sequence[str] | None = None) -> Response:
    """Start a run of traces or sessions by their ids, or of those that match the filters of the body."""
    scope.spend("POST", f"/evaluations/{kind}-runs{'' if ids is None else '/batch'}")
    check_metrics(body.metrics, target_type=kind.upper(), label="metrics" if kind == "trace" else "session metrics")
    sent, rate = body.model_dump(mode="json", exclude_none=True), 1.0
    filters = {f"{kind}_ids": list(dict.fromkeys(ids or ()))}
    if isinstance(body, CreateTraceRun | CreateSessionRun):
        rate, filters = body.sampling_rate, sent["filters"]
        if not (ids := scope.services.evaluation.targets(scope.project_id, body.filters)):
            raise refused(f"No {kind}s match the provided filters.")
    run = scope.services.evaluation.start(
        scope.project,
        kind.upper(),
        body.metrics,
        dict.fromkeys(sample(ids or (), rate)),
        _weighted(filters, sent.get(_WEIGHTS)),
        name=body.name,
        model=body.model,
        sampling_rate=rate,
    )
    return answer(run, 202)


def _add_routes(kind: Literal["trace", "session"], scores_model: Any) -> None:
    """Add the routes that both kinds of runs have. Each finds runs of the other kind too, but lists only its own."""
    path, target_type = f"/{kind}-runs", kind.upper()

    def scores_of(scope: ProjectScope) -> ScoreStore:
        evaluation = scope.services.evaluation
        return evaluation.trace_scores if kind == "trace" else evaluation.session_scores

    @router.get(path, response_model=answers.Page[answers.EvalRun])
    def list_runs(scope: Scope, page: Page, status: Status = None) -> Response:
        """List runs of one kind, newest first."""
        condition = where_of(scope.project_id, {"target_type": target_type, "status": status})
        return listed(scope.services.evaluation.runs.find(condition, page), page)

    @router.get(f"{path}/{{run_id}}", response_model=answers.EvalRun)
    def get_run(scope: Scope, run_id: UUID) -> Response:
        """Return a run."""
        return answer(scope.services.evaluation.runs.record(_run(scope, run_id)))

    @router.delete(f"{path}/{{run_id}}", status_code=204, response_model=None)
    def delete_run(scope: Scope, run_id: UUID, delete_scores: bool = False) -> None:
        """Delete a run; with `delete_scores`, also its scores and those of its signals."""
        scope.services.evaluation.delete_run(_run(scope, run_id), with_scores=delete_scores)

    @router.post(f"{path}/{{run_id}}/retry", status_code=202, response_model=answers.EvalRun)
    def retry_failed_run(scope: Scope, run_id: UUID) -> Response:
        """Evaluate the failed pairs of trace and metric again, or the sessions with a failed score. Failed signals do
        not count.
        """
        scope.spend("POST", f"/evaluations{path}/{{run_id}}/retry")
        original = parsed(_run(scope, run_id))
        pairs: dict[str, list[str]] = {}
        for score in reversed(scores_of(scope).of_run(scope.project_id, str(run_id))):
            if score["status"] == "FAILED":
                metrics = pairs.setdefault(score[f"{kind}_id"], [])
                metrics += [score["name"]] if score["name"] not in metrics else []
        if not pairs:
            raise refused("No failed scores to retry in this run.")
        every = sorted({metric for names in pairs.values() for metric in names})
        if kind == "session":
            pairs = dict.fromkeys(sorted(pairs), every)
        filters = {"retry_of": original["id"], f"{kind}_ids": list(pairs)}
        run = scope.services.evaluation.start(
            scope.project,
            target_type,
            every,
            dict(pairs),
            _weighted(filters, original["filters"].get(_WEIGHTS)),
            name=f"Retry: {original['name'] or original['id']}",
            model=original["model"],
        )
        return answer(run, 202)

    @router.get(f"{path}/{{run_id}}/scores", response_model=scores_model)
    def get_scores_for_run(scope: Scope, run_id: UUID) -> Response:
        """List the scores of a run. An unknown run has none."""
        return answer(scores_of(scope).of_run(scope.project_id, str(run_id)))


_add_routes("trace", list[answers.TraceScore])
_add_routes("session", list[answers.SessionScore])


def _run(scope: ProjectScope, run_id: UUID) -> sqlite3.Row:
    row = scope.services.evaluation.runs.get(scope.project_id, str(run_id))
    if row is None:
        raise not_found(f"Eval run {run_id}")
    return row


def _weighted(filters: Mapping[str, Any], weights: Mapping[str, float] | None) -> Mapping[str, Any]:
    """Return the filters of a session run with its weights, which are stored there."""
    return {**filters, _WEIGHTS: dict(weights)} if weights else filters
