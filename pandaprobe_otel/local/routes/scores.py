"""Scores of traces and sessions."""

from __future__ import annotations

import sqlite3
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from pandaprobe_otel.api import models as answers
from pandaprobe_otel.api.fields import ScoreSource, ScoreStatus
from pandaprobe_otel.enums import ScoreDataType
from pandaprobe_otel.local.auth import ProjectScope, Scope
from pandaprobe_otel.local.errors import not_found, refused
from pandaprobe_otel.local.models.evaluations import CreateTraceScore, UpdateTraceScore, check_value
from pandaprobe_otel.local.payloads import encode
from pandaprobe_otel.local.routing import ApiRoute, Page, Since, answer, listed
from pandaprobe_otel.local.store.evaluations import NewScore, number_of
from pandaprobe_otel.local.store.records import where_of

router = APIRouter(route_class=ApiRoute, tags=["evaluations"], prefix="/evaluations")

Source = Annotated[ScoreSource | None, Query()]
Status = Annotated[ScoreStatus | None, Query()]


@router.get("/trace-scores", response_model=answers.Page[answers.TraceScore])
def list_trace_scores(
    scope: Scope,
    page: Page,
    trace_id: UUID | None = None,
    name: str | None = None,
    source: Source = None,
    status: Status = None,
    data_type: Annotated[ScoreDataType | None, Query()] = None,
    eval_run_id: UUID | None = None,
    environment: str | None = None,
    date_from: Since = None,
    date_to: Since = None,
) -> Response:
    """List scores of traces, newest first."""
    wanted = {
        "trace_id": trace_id and str(trace_id),
        "name": name,
        "source": source,
        "status": status,
        "data_type": data_type,
        "eval_run_id": eval_run_id and str(eval_run_id),
        "environment": environment,
    }
    condition = where_of(scope.project_id, wanted, date_from, date_to)
    return listed(scope.services.evaluation.trace_scores.find(condition, page), page)


@router.post("/trace-scores", status_code=201, response_model=answers.TraceScore)
def create_trace_score(scope: Scope, body: CreateTraceScore) -> Response:
    """Add a score to a trace. It does not replace earlier scores of the same name; the latest score counts."""
    services, trace_id = scope.services, str(body.trace_id)
    if services.traces.get(scope.project_id, trace_id) is None:
        raise not_found(f"Trace {trace_id}")
    new = NewScore(target=trace_id, **body.model_dump(exclude={"trace_id"}))
    with services.database.write() as connection:
        score_id = services.evaluation.trace_scores.score(connection, scope.project_id, new, now=services.now())
    return _shown(scope, score_id, 201)


@router.get("/trace-scores/{trace_id}", response_model=list[answers.TraceScore])
def get_scores_for_trace(scope: Scope, trace_id: UUID) -> Response:
    """Return the latest score of each name. An unknown trace has none."""
    (scores,) = scope.services.evaluation.trace_scores.latest(scope.project_id, [str(trace_id)]).values()
    return answer(scores)


@router.patch("/trace-scores/{score_id}", response_model=answers.TraceScore)
def update_trace_score(scope: Scope, score_id: UUID, body: UpdateTraceScore) -> Response:
    """Correct a score by hand. Its source becomes ANNOTATION and its status SUCCESS, whatever the request says."""
    row = _score(scope, str(score_id))
    columns: dict[str, Any] = {"source": "ANNOTATION", "status": "SUCCESS", "updated_at": scope.services.now()}
    if body.value is not None:
        try:
            check_value(body.value, ScoreDataType(row["data_type"]))
        except ValueError as error:
            raise refused(str(error)) from None
        columns |= {"value": body.value, "number": number_of(body.value, row["data_type"])}
    if body.reason is not None:
        columns["reason"] = body.reason
    if body.metadata is not None:
        columns["metadata"] = encode(body.metadata)
    scope.services.evaluation.trace_scores.change(str(score_id), columns)
    return _shown(scope, str(score_id))


@router.delete("/trace-scores/{score_id}", status_code=204, response_model=None)
def delete_trace_score(scope: Scope, score_id: UUID) -> None:
    """Delete a score."""
    if not scope.services.evaluation.trace_scores.delete(scope.project_id, str(score_id)):
        raise not_found(f"Trace score {score_id}")


@router.get("/session-scores", response_model=answers.Page[answers.SessionScore])
def list_session_scores(
    scope: Scope,
    page: Page,
    session_id: str | None = None,
    name: str | None = None,
    source: Source = None,
    status: Status = None,
    eval_run_id: UUID | None = None,
    date_from: Since = None,
    date_to: Since = None,
) -> Response:
    """List scores of sessions, newest first."""
    run_id = eval_run_id and str(eval_run_id)
    wanted = {"session_id": session_id, "name": name, "source": source, "status": status, "eval_run_id": run_id}
    condition = where_of(scope.project_id, wanted, date_from, date_to)
    return listed(scope.services.evaluation.session_scores.find(condition, page), page)


@router.get("/session-scores/{session_id}", response_model=list[answers.SessionScore])
def get_scores_for_session(scope: Scope, session_id: str) -> Response:
    """Return every score of a session, newest first. An unknown session has none."""
    return answer(scope.services.evaluation.session_scores.of_target(scope.project_id, session_id))


@router.delete("/session-scores/{score_id}", status_code=204, response_model=None)
def delete_session_score(scope: Scope, score_id: UUID) -> None:
    """Delete a score. An unknown score is not an error (measured on server 0.5.0)."""
    scope.services.evaluation.session_scores.delete(scope.project_id, str(score_id))


def _score(scope: ProjectScope, score_id: str) -> sqlite3.Row:
    row = scope.services.evaluation.trace_scores.get(scope.project_id, score_id)
    if row is None:
        raise not_found(f"Trace score {score_id}")
    return row


def _shown(scope: ProjectScope, score_id: str, status: int = 200) -> Response:
    return answer(scope.services.evaluation.trace_scores.record(_score(scope, score_id)), status)
