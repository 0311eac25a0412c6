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
from pandaprobe_otel.local.evaluation.service import RunRequest, Targets, check_metrics
from pandaprobe_otel.local.models.evaluations import (
    CreateSessionBatchRun,
    CreateSessionRun,
    CreateTraceBatchRun,
    CreateTraceRun,
)
from pandaprobe_otel.local.payloads import loads
from pandaprobe_otel.local.routing import ApiRoute, Limit200, Offset, answer
from pandaprobe_otel.local.store.records import record
from pandaprobe_otel.local.store.scores import ScoreStore

router = APIRouter(route_class=ApiRoute, tags=["evaluations"], prefix="/evaluations")

Status = Annotated[EvaluationStatus | None, Query()]
_WEIGHTS: Final = "signal_weights"


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


# -- of both ----------------------------------------------------------------------------------------------------------


def _add_routes(kind: Literal["trace", "session"], scores_model: Any) -> None:
    """Add the routes that both kinds of runs have. Each finds runs of the other kind too, but lists only its own."""
    path, target_type = f"/{kind}-runs", kind.upper()

    def scores_of(scope: ProjectScope) -> ScoreStore:
        evaluation = scope.services.evaluation
        return evaluation.trace_scores if kind == "trace" else evaluation.session_scores

    @router.get(path, response_model=answers.Page[answers.EvalRun])
    def list_runs(scope: Scope, status: Status = None, limit: Limit200 = 50, offset: Offset = 0) -> Response:
        """List runs of one kind, newest first."""
        rows, total = scope.services.evaluation.runs.find(
            scope.project_id, target_type=target_type, status=status, limit=limit, offset=offset
        )
        return answer({"items": [*map(record, rows)], "total": total, "limit": limit, "offset": offset})

    @router.get(f"{path}/{{run_id}}", response_model=answers.EvalRun)
    def get_run(scope: Scope, run_id: UUID) -> Response:
        """Return a run."""
        return answer(record(_run(scope, run_id)))

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
        original = _run(scope, run_id)
        pairs: dict[str, list[str]] = {}
        for failed in scores_of(scope).failed_of_run(scope.project_id, str(run_id)):
            metrics = pairs.setdefault(failed[f"{kind}_id"], [])
            if failed["name"] not in metrics:
                metrics.append(failed["name"])
        if not pairs:
            raise refused("No failed scores to retry in this run.")
        every = sorted({metric for names in pairs.values() for metric in names})
        if kind == "session":
            pairs = dict.fromkeys(sorted(pairs), every)
        return _start(
            scope,
            target_type,
            every,
            dict(pairs),
            _weighted(
                {"retry_of": original["id"], f"{kind}_ids": list(pairs)}, loads(original["filters"]).get(_WEIGHTS)
            ),
            name=f"Retry: {original['name'] or original['id']}",
            model=original["model"],
        )

    @router.get(f"{path}/{{run_id}}/scores", response_model=scores_model)
    def get_scores_for_run(scope: Scope, run_id: UUID) -> Response:
        """List the scores of a run. An unknown run has none."""
        scores = scores_of(scope)
        return answer([scores.record(row) for row in scores.of_run(scope.project_id, str(run_id))])


_add_routes("trace", list[answers.TraceScore])
_add_routes("session", list[answers.SessionScore])


def _run(scope: ProjectScope, run_id: UUID) -> sqlite3.Row:
    row = scope.services.evaluation.runs.get(scope.project_id, str(run_id))
    if row is None:
        raise not_found(f"Eval run {run_id}")
    return row


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


def _weighted(filters: dict[str, Any], weights: Mapping[str, float] | None) -> dict[str, Any]:
    """Return the filters of a session run with its weights, which are stored there."""
    return {**filters, _WEIGHTS: dict(weights)} if weights else filters
