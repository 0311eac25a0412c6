"""Monitors: evaluations that repeat on a schedule."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from pandaprobe_otel.api import models as answers
from pandaprobe_otel.api.fields import MonitorStatus
from pandaprobe_otel.local.auth import ProjectScope, Scope
from pandaprobe_otel.local.errors import InvalidFieldError, not_found, refused
from pandaprobe_otel.local.evaluation.cadence import BadCadenceError, next_run, normalised
from pandaprobe_otel.local.evaluation.selection import filter_date, session_filters, trace_filters
from pandaprobe_otel.local.evaluation.service import check_metrics
from pandaprobe_otel.local.models.evaluations import CreateMonitor, UpdateMonitor
from pandaprobe_otel.local.payloads import encode, loads
from pandaprobe_otel.local.routing import ApiRoute, Limit200, Offset, answer
from pandaprobe_otel.local.store.monitors import monitor_record
from pandaprobe_otel.local.store.records import record

router = APIRouter(route_class=ApiRoute, tags=["evaluations"], prefix="/evaluations/monitors")

_WEIGHTS = "signal_weights"


@router.post("", status_code=201, response_model=answers.Monitor)
def create_monitor(scope: Scope, body: CreateMonitor) -> Response:
    """Create a monitor. It is ACTIVE and first runs at the next time of its cadence."""
    services = scope.services
    services.quota.check_monitoring(scope.organization)
    if body.target_type not in ("TRACE", "SESSION"):
        raise refused("target_type must be 'TRACE' or 'SESSION'.")
    if body.target_type == "TRACE" and body.signal_weights:
        raise refused("signal_weights is only valid for SESSION monitors.")
    check_metrics(body.metrics, target_type=body.target_type)
    cadence = _cadence(body.cadence)
    _check_filters(body.target_type, body.filters)
    now = services.now()
    with services.database.write() as connection:
        scope.keep(connection)
        monitor_id = services.evaluation.monitors.add(
            connection,
            {
                "project_id": scope.project_id,
                "name": body.name,
                "target_type": body.target_type,
                "metric_names": encode(body.metrics),
                "filters": encode(_with_weights(body.filters, body.signal_weights)),
                "sampling_rate": body.sampling_rate,
                "model": body.model,
                "cadence": cadence,
                "only_if_changed": body.only_if_changed,
                "status": "ACTIVE",
                "next_run_at": next_run(cadence, now),
                "created_at": now,
                "updated_at": now,
            },
        )
    services.evaluation.worker.watch()
    return answer(monitor_record(_monitor(scope, monitor_id)), 201)


@router.get("", response_model=answers.Page[answers.Monitor])
def list_monitors(
    scope: Scope,
    status: Annotated[MonitorStatus | None, Query()] = None,
    limit: Limit200 = 50,
    offset: Offset = 0,
) -> Response:
    """List monitors, newest first."""
    rows, total = scope.services.evaluation.monitors.find(scope.project_id, status=status, limit=limit, offset=offset)
    items = [monitor_record(row) for row in rows]
    return answer({"items": items, "total": total, "limit": limit, "offset": offset})


@router.get("/{monitor_id}", response_model=answers.Monitor)
def get_monitor(scope: Scope, monitor_id: UUID) -> Response:
    """Return a monitor."""
    return answer(monitor_record(_monitor(scope, monitor_id)))


@router.patch("/{monitor_id}", response_model=answers.Monitor)
def update_monitor(scope: Scope, monitor_id: UUID, body: UpdateMonitor) -> Response:
    """Change the fields in the request. A new cadence counts from now."""
    row = _monitor(scope, monitor_id)
    scope.services.evaluation.monitors.change(
        row["id"], _changes(row, body, scope.services.now()), now=scope.services.now()
    )
    return answer(monitor_record(_monitor(scope, monitor_id)))


@router.delete("/{monitor_id}", status_code=204, response_model=None)
def delete_monitor(scope: Scope, monitor_id: UUID) -> None:
    """Delete a monitor. Its runs stay."""
    if not scope.services.evaluation.monitors.delete(scope.project_id, str(monitor_id)):
        raise not_found(f"Eval monitor {monitor_id}")


@router.post("/{monitor_id}/pause", response_model=answers.Monitor)
def pause_monitor(scope: Scope, monitor_id: UUID) -> Response:
    """Stop the scheduled runs of a monitor."""
    row = _monitor(scope, monitor_id)
    if row["status"] != "PAUSED":
        columns = {"status": "PAUSED", "next_run_at": None}
        scope.services.evaluation.monitors.change(row["id"], columns, now=scope.services.now())
    return answer(monitor_record(_monitor(scope, monitor_id)))


@router.post("/{monitor_id}/resume", response_model=answers.Monitor)
def resume_monitor(scope: Scope, monitor_id: UUID) -> Response:
    """Resume the scheduled runs of a monitor, counting from now."""
    row, now = _monitor(scope, monitor_id), scope.services.now()
    if row["status"] != "ACTIVE":
        columns = {"status": "ACTIVE", "next_run_at": next_run(row["cadence"], now)}
        scope.services.evaluation.monitors.change(row["id"], columns, now=now)
        scope.services.evaluation.worker.watch()
    return answer(monitor_record(_monitor(scope, monitor_id)))


@router.post("/{monitor_id}/trigger", status_code=202, response_model=answers.EvalRun)
def trigger_monitor(scope: Scope, monitor_id: UUID) -> Response:
    """Run a monitor now, even if it is paused."""
    scope.spend("POST", "/evaluations/monitors/{monitor_id}/trigger")
    return answer(record(scope.services.evaluation.trigger(_monitor(scope, monitor_id))), 202)


@router.get("/{monitor_id}/runs", response_model=answers.Page[answers.EvalRun])
def list_monitor_runs(scope: Scope, monitor_id: UUID, limit: Limit200 = 50, offset: Offset = 0) -> Response:
    """List the runs of a monitor, newest first."""
    monitor = _monitor(scope, monitor_id)
    rows, total = scope.services.evaluation.runs.find(
        scope.project_id, monitor_id=monitor["id"], limit=limit, offset=offset
    )
    items = [record(row) for row in rows]
    return answer({"items": items, "total": total, "limit": limit, "offset": offset})


def _monitor(scope: ProjectScope, monitor_id: UUID | str) -> sqlite3.Row:
    row = scope.services.evaluation.monitors.get(scope.project_id, str(monitor_id))
    if row is None:
        raise not_found(f"Eval monitor {monitor_id}")
    return row


def _changes(row: sqlite3.Row, body: UpdateMonitor, now: int) -> dict[str, Any]:
    sent = body.sent()
    columns: dict[str, Any] = {}
    for field in ("name", "sampling_rate", "only_if_changed", "cadence"):
        if field in sent and sent[field] is None:
            raise InvalidFieldError(field, "Input should not be null")  # server 0.5.0 fails with a 500
    for field in ("name", "sampling_rate", "only_if_changed", "model"):
        if field in sent:
            columns[field] = sent[field]
    if body.metrics is not None:
        if not body.metrics:
            raise refused("At least one metric is required.")
        check_metrics(body.metrics, target_type=row["target_type"])
        columns["metric_names"] = encode(body.metrics)
    if body.cadence is not None:
        columns["cadence"] = _cadence(body.cadence)
        # A paused monitor has no next run until it is resumed.
        columns["next_run_at"] = None if row["status"] == "PAUSED" else next_run(columns["cadence"], now)
    if "filters" in sent or _WEIGHTS in sent:
        columns["filters"] = encode(_changed_filters(row, body, sent))
    return columns


def _changed_filters(row: sqlite3.Row, body: UpdateMonitor, sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return the new filters. They contain the weights, which stay if the filters change; null removes them."""
    if row["target_type"] == "TRACE" and body.signal_weights:
        raise refused("signal_weights is only valid for SESSION monitors.")
    old: dict[str, Any] = loads(row["filters"])
    filters = dict(body.filters or {}) if "filters" in sent else old
    _check_filters(row["target_type"], filters)
    weights = body.signal_weights if _WEIGHTS in sent else old.get(_WEIGHTS)
    filters.pop(_WEIGHTS, None)
    return _with_weights(filters, weights)


def _with_weights(filters: Mapping[str, Any], weights: Mapping[str, float] | None) -> dict[str, Any]:
    return {**filters, _WEIGHTS: dict(weights)} if weights else dict(filters)


def _check_filters(target_type: str, filters: Mapping[str, Any]) -> None:
    """Refuse filters that would make every run of the monitor fail. Unknown keys are stored, as on the server."""
    checked = session_filters(filters) if target_type == "SESSION" else trace_filters(filters)
    for field in ("date_from", "date_to"):
        filter_date(getattr(checked, field), f"filters -> {field}")


def _cadence(text: str) -> str:
    try:
        return normalised(text)
    except BadCadenceError as error:
        raise refused(str(error)) from None
