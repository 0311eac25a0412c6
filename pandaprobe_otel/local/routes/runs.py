"""Evaluation runs of traces and of sessions."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from pandaprobe_otel.api import models as answers
from pandaprobe_otel.api.fields import EvaluationStatus
from pandaprobe_otel.local.auth import ProjectScope, Scope
from pandaprobe_otel.local.errors import not_found, refused
from pandaprobe_otel.local.evaluation.selection import sample
from pandaprobe_otel.local.evaluation.service import RunRequest, Targets, check_metrics
from pandaprobe_otel.local.models.evaluations import (
    CreateSessionBatchRun,
    CreateSessionRun,
    CreateTraceBatchRun,
    CreateTraceRun,
)
from pandaprobe_otel.local.payloads import loads
from pandaprobe_otel.local.routes.parameters import Limit200, Offset
from pandaprobe_otel.local.routing import ApiRoute, answer
from pandaprobe_otel.local.store.records import record

router = APIRouter(route_class=ApiRoute, tags=["evaluations"], prefix="/evaluations")

Status = Annotated[EvaluationStatus | None, Query()]


# -- of traces --------------------------------------------------------------------------------------------------------


@router.post("/trace-runs", status_code=202, response_model=answers.EvalRun)
def create_eval_run(scope: Scope, body: CreateTraceRun) -> Response:
    """Evaluate the traces that match filters."""
    scope.spend("POST", "/evaluations/trace-runs")
    check_metrics(body.metrics, target_type="TRACE")
    targets = scope.services.evaluation.selection.traces(scope.project_id, body.filters)
    if not targets:
        raise refused("No traces match the provided filters.")
    filters = body.filters.model_dump(mode="json", exclude_none=True)
    return _start(
        scope,
        "TRACE",
        body.metrics,
        dict.fromkeys(sample(targets, body.sampling_rate)),
        filters,
        name=body.name,
        model=body.model,
        sampling_rate=body.sampling_rate,
    )


@router.post("/trace-runs/batch", status_code=202, response_model=answers.EvalRun)
def create_batch_eval_run(scope: Scope, body: CreateTraceBatchRun) -> Response:
    """Evaluate traces by id. Unknown ids count as evaluated and get no score."""
    scope.spend("POST", "/evaluations/trace-runs/batch")
    check_metrics(body.metrics, target_type="TRACE")
    targets: Targets = dict.fromkeys(map(str, body.trace_ids))
    filters = {"trace_ids": list(targets)}
    return _start(scope, "TRACE", body.metrics, targets, filters, name=body.name, model=body.model)


@router.get("/trace-runs", response_model=answers.Page[answers.EvalRun])
def list_eval_runs(scope: Scope, status: Status = None, limit: Limit200 = 50, offset: Offset = 0) -> Response:
    """List runs of traces, newest first."""
    return _list(scope, "TRACE", status, limit, offset)


@router.get("/trace-runs/{run_id}", response_model=answers.EvalRun)
def get_eval_run(scope: Scope, run_id: UUID) -> Response:
    """Return a run of traces or sessions."""
    return answer(record(_run(scope, run_id)))


@router.delete("/trace-runs/{run_id}", status_code=204, response_model=None)
def delete_eval_run(scope: Scope, run_id: UUID, delete_scores: bool = False) -> None:
    """Delete a run; with `delete_scores`, also its scores."""
    scope.services.evaluation.delete_run(_run(scope, run_id), with_scores=delete_scores)


@router.post("/trace-runs/{run_id}/retry", status_code=202, response_model=answers.EvalRun)
def retry_failed_eval_run(scope: Scope, run_id: UUID) -> Response:
    """Evaluate the failed pairs of trace and metric again."""
    scope.spend("POST", "/evaluations/trace-runs/{run_id}/retry")
    original = _run(scope, run_id)
    failed = scope.services.evaluation.trace_scores.failed_of_run(scope.project_id, str(run_id))
    pairs: dict[str, list[str]] = {}
    for score in failed:
        metrics = pairs.setdefault(score["trace_id"], [])
        if score["name"] not in metrics:
            metrics.append(score["name"])
    return _retry(scope, original, "TRACE", pairs, {"trace_ids": list(pairs)})


@router.get("/trace-runs/{run_id}/scores", response_model=list[answers.TraceScore])
def get_scores_for_run(scope: Scope, run_id: UUID) -> Response:
    """List the scores of a run. An unknown run has none."""
    scores = scope.services.evaluation.trace_scores
    return answer([scores.record(row) for row in scores.of_run(scope.project_id, str(run_id))])


# -- of sessions ------------------------------------------------------------------------------------------------------


@router.post("/session-runs", status_code=202, response_model=answers.EvalRun)
def create_session_eval_run(scope: Scope, body: CreateSessionRun) -> Response:
    """Evaluate the sessions that match filters."""
    scope.spend("POST", "/evaluations/session-runs")
    check_metrics(body.metrics, target_type="SESSION", label="session metrics")
    targets = scope.services.evaluation.selection.sessions(scope.project_id, body.filters)
    if not targets:
        raise refused("No sessions match the provided filters.")
    filters = _weighted(body.filters.model_dump(mode="json", exclude_none=True), body.signal_weights)
    return _start(
        scope,
        "SESSION",
        body.metrics,
        dict.fromkeys(sample(targets, body.sampling_rate)),
        filters,
        name=body.name,
        model=body.model,
        sampling_rate=body.sampling_rate,
    )


@router.post("/session-runs/batch", status_code=202, response_model=answers.EvalRun)
def create_batch_session_eval_run(scope: Scope, body: CreateSessionBatchRun) -> Response:
    """Evaluate sessions by id. Unknown ids count as evaluated and get no score."""
    scope.spend("POST", "/evaluations/session-runs/batch")
    check_metrics(body.metrics, target_type="SESSION", label="session metrics")
    targets: Targets = dict.fromkeys(body.session_ids)
    filters = _weighted({"session_ids": list(targets)}, body.signal_weights)
    return _start(scope, "SESSION", body.metrics, targets, filters, name=body.name, model=body.model)


@router.get("/session-runs", response_model=answers.Page[answers.EvalRun])
def list_session_eval_runs(scope: Scope, status: Status = None, limit: Limit200 = 50, offset: Offset = 0) -> Response:
    """List runs of sessions, newest first."""
    return _list(scope, "SESSION", status, limit, offset)


@router.get("/session-runs/{run_id}", response_model=answers.EvalRun)
def get_session_eval_run(scope: Scope, run_id: UUID) -> Response:
    """Return a run of sessions or traces."""
    return answer(record(_run(scope, run_id)))


@router.delete("/session-runs/{run_id}", status_code=204, response_model=None)
def delete_session_eval_run(scope: Scope, run_id: UUID, delete_scores: bool = False) -> None:
    """Delete a run; with `delete_scores`, also its scores and those of its signals."""
    scope.services.evaluation.delete_run(_run(scope, run_id), with_scores=delete_scores)


@router.post("/session-runs/{run_id}/retry", status_code=202, response_model=answers.EvalRun)
def retry_failed_session_eval_run(scope: Scope, run_id: UUID) -> Response:
    """Evaluate the sessions with a failed score again. Failed signals do not count."""
    scope.spend("POST", "/evaluations/session-runs/{run_id}/retry")
    original = _run(scope, run_id)
    failed = scope.services.evaluation.session_scores.failed_of_run(scope.project_id, str(run_id))
    metrics = sorted({score["name"] for score in failed})
    pairs = dict.fromkeys(sorted({score["session_id"] for score in failed}), metrics)
    weights = loads(original["filters"]).get("signal_weights")
    return _retry(scope, original, "SESSION", pairs, _weighted({"session_ids": list(pairs)}, weights))


@router.get("/session-runs/{run_id}/scores", response_model=list[answers.SessionScore])
def get_session_scores_for_run(scope: Scope, run_id: UUID) -> Response:
    """List the session scores of a run. An unknown run has none."""
    scores = scope.services.evaluation.session_scores
    return answer([scores.record(row) for row in scores.of_run(scope.project_id, str(run_id))])


# -- both -------------------------------------------------------------------------------------------------------------


def _run(scope: ProjectScope, run_id: UUID) -> sqlite3.Row:
    row = scope.services.evaluation.runs.get(scope.project_id, str(run_id))
    if row is None:
        raise not_found(f"Eval run {run_id}")
    return row


def _list(scope: ProjectScope, target_type: str, status: EvaluationStatus | None, limit: int, offset: int) -> Response:
    rows, total = scope.services.evaluation.runs.find(
        scope.project_id, target_type=target_type, status=status, limit=limit, offset=offset
    )
    items = [record(row) for row in rows]
    return answer({"items": items, "total": total, "limit": limit, "offset": offset})


def _start(
    scope: ProjectScope,
    target_type: str,
    metrics: Sequence[str],
    targets: Targets,
    filters: Mapping[str, Any],
    *,
    name: str | None,
    model: str | None,
    sampling_rate: float = 1.0,
) -> Response:
    request = RunRequest(
        organization=scope.organization,
        project_id=scope.project_id,
        target_type=target_type,
        metrics=metrics,
        targets=targets,
        filters=filters,
        name=name,
        model=model,
        sampling_rate=sampling_rate,
    )
    evaluation = scope.services.evaluation
    row = evaluation.start(request, scope.keep)
    return answer(record(row), 202)


def _retry(
    scope: ProjectScope,
    original: sqlite3.Row,
    target_type: str,
    pairs: Mapping[str, Sequence[str]],
    filters: Mapping[str, Any],
) -> Response:
    if not pairs:
        raise refused("No failed scores to retry in this run.")
    metrics = sorted({metric for names in pairs.values() for metric in names})
    return _start(
        scope,
        target_type,
        metrics,
        dict(pairs),
        {"retry_of": original["id"], **filters},
        name=f"Retry: {original['name'] or original['id']}",
        model=original["model"],
    )


def _weighted(filters: dict[str, Any], weights: Mapping[str, float] | None) -> dict[str, Any]:
    """Return the filters of a session run with its weights, which are stored there."""
    return {**filters, "signal_weights": dict(weights)} if weights else filters
