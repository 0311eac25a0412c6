"""Monitors: evaluations that repeat on a schedule."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from pandaprobe_otel.api import models as answers
from pandaprobe_otel.api.fields import MonitorStatus
from pandaprobe_otel.local.auth import ProjectScope, Scope
from pandaprobe_otel.local.errors import InvalidFieldError, not_found, refused
from pandaprobe_otel.local.evaluation.cadence import BadCadenceError, next_run, normalised
from pandaprobe_otel.local.evaluation.selection import checked_filters
from pandaprobe_otel.local.evaluation.service import check_metrics
from pandaprobe_otel.local.models.evaluations import CreateMonitor, UpdateMonitor
from pandaprobe_otel.local.payloads import encode
from pandaprobe_otel.local.routing import ApiRoute, Page, answer, listed
from pandaprobe_otel.local.store.evaluations import parsed
from pandaprobe_otel.local.store.records import where_of

router = APIRouter(route_class=ApiRoute, tags=["evaluations"], prefix="/evaluations/monitors")

_WEIGHTS = "signal_weights"


@router.post("", status_code=201, response_model=answers.Monitor)
def create_monitor(scope: Scope, body: CreateMonitor) -> Response:
    """Create a monitor. It is ACTIVE and first runs at the next time of its cadence."""
    services, sent = scope.services, body.model_dump()
    services.quota.check_monitoring(scope.organization)
    if body.target_type not in ("TRACE", "SESSION"):
        raise refused("target_type must be 'TRACE' or 'SESSION'.")
    now = services.now()
    columns: dict[str, Any] = {
        **{name: sent[name] for name in ("name", "target_type", "sampling_rate", "model", "only_if_changed")},
        **_checked(body.target_type, body.metrics, body.cadence, body.filters, body.signal_weights),
        "project_id": scope.project_id,
        "status": "ACTIVE",
        "created_at": now,
        "updated_at": now,
    }
    with services.database.write() as connection:
        scope.keep(connection)
        columns["next_run_at"] = next_run(columns["cadence"], now)
        monitor_id = services.evaluation.monitors.add(connection, columns)
    services.evaluation.watch()
    return _shown(scope, monitor_id, 201)


@router.get("", response_model=answers.Page[answers.Monitor])
def list_monitors(scope: Scope, page: Page, status: Annotated[MonitorStatus | None, Query()] = None) -> Response:
    """List monitors, newest first."""
    found = scope.services.evaluation.monitors.find(where_of(scope.project_id, {"status": status}), page)
    return listed(found, page)


@router.get("/{monitor_id}", response_model=answers.Monitor)
def get_monitor(scope: Scope, monitor_id: UUID) -> Response:
    """Return a monitor."""
    return _shown(scope, monitor_id)


@router.patch("/{monitor_id}", response_model=answers.Monitor)
def update_monitor(scope: Scope, monitor_id: UUID, body: UpdateMonitor) -> Response:
    """Change the fields in the request. A new cadence counts from now."""
    row, now = _monitor(scope, monitor_id), scope.services.now()
    sent, old = body.sent(), parsed(row)
    for field in ("name", "sampling_rate", "only_if_changed", "cadence"):
        if field in sent and sent[field] is None:
            raise InvalidFieldError(field, "Input should not be null")  # server 0.5.0 fails with a 500
    if body.metrics == []:
        raise refused("At least one metric is required.")
    filters = (body.filters or {}) if "filters" in sent else old["filters"]
    # The filters contain the weights, which stay if the filters change; null removes them.
    weights = body.signal_weights if _WEIGHTS in sent else old["filters"].get(_WEIGHTS)
    checked = _checked(row["target_type"], body.metrics, body.cadence, filters, weights)
    kept = {"name", "sampling_rate", "only_if_changed", "model"}
    columns = {name: value for name, value in sent.items() if name in kept}
    if "cadence" in checked:
        # A paused monitor has no next run until it is resumed.
        columns["next_run_at"] = None if row["status"] == "PAUSED" else next_run(checked["cadence"], now)
    scope.services.evaluation.monitors.change(row["id"], {**columns, **checked, "updated_at": now})
    return _shown(scope, monitor_id)


@router.delete("/{monitor_id}", status_code=204, response_model=None)
def delete_monitor(scope: Scope, monitor_id: UUID) -> None:
    """Delete a monitor. Its runs stay."""
    if not scope.services.evaluation.monitors.delete(scope.project_id, str(monitor_id)):
        raise not_found(f"Eval monitor {monitor_id}")


@router.post("/{monitor_id}/pause", response_model=answers.Monitor)
def pause_monitor(scope: Scope, monitor_id: UUID) -> Response:
    """Stop the scheduled runs of a monitor."""
    return _set_status(scope, monitor_id, "PAUSED")


@router.post("/{monitor_id}/resume", response_model=answers.Monitor)
def resume_monitor(scope: Scope, monitor_id: UUID) -> Response:
    """Resume the scheduled runs of a monitor, counting from now."""
    return _set_status(scope, monitor_id, "ACTIVE")


@router.post("/{monitor_id}/trigger", status_code=202, response_model=answers.EvalRun)
def trigger_monitor(scope: Scope, monitor_id: UUID) -> Response:
    """Run a monitor now, even if it is paused."""
    scope.spend("POST", "/evaluations/monitors/{monitor_id}/trigger")
    return answer(scope.services.evaluation.trigger(_monitor(scope, monitor_id)), 202)


@router.get("/{monitor_id}/runs", response_model=answers.Page[answers.EvalRun])
def list_monitor_runs(scope: Scope, monitor_id: UUID, page: Page) -> Response:
    """List the runs of a monitor, newest first."""
    condition = where_of(scope.project_id, {"monitor_id": _monitor(scope, monitor_id)["id"]})
    return listed(scope.services.evaluation.runs.find(condition, page), page)


def _monitor(scope: ProjectScope, monitor_id: UUID | str) -> sqlite3.Row:
    row = scope.services.evaluation.monitors.get(scope.project_id, str(monitor_id))
    if row is None:
        raise not_found(f"Eval monitor {monitor_id}")
    return row


def _shown(scope: ProjectScope, monitor_id: UUID | str, status: int = 200) -> Response:
    return answer(scope.services.evaluation.monitors.record(_monitor(scope, monitor_id)), status)


def _set_status(scope: ProjectScope, monitor_id: UUID, status: MonitorStatus) -> Response:
    row, now, evaluation = _monitor(scope, monitor_id), scope.services.now(), scope.services.evaluation
    if row["status"] != status:
        due = next_run(row["cadence"], now) if status == "ACTIVE" else None
        evaluation.monitors.change(row["id"], {"status": status, "next_run_at": due, "updated_at": now})
        evaluation.watch()
    return _shown(scope, monitor_id)


def _checked(
    target_type: str,
    metrics: Sequence[str] | None,
    cadence: str | None,
    filters: Mapping[str, Any],
    weights: Mapping[str, float] | None,
) -> dict[str, Any]:
    """Return the columns of a monitor that must be valid together; None leaves out a column."""
    if target_type == "TRACE" and weights:
        raise refused("signal_weights is only valid for SESSION monitors.")
    columns: dict[str, Any] = {}
    if metrics is not None:
        check_metrics(metrics, target_type=target_type)
        columns["metric_names"] = encode(list(metrics))
    if cadence is not None:
        try:
            columns["cadence"] = normalised(cadence)
        except BadCadenceError as error:
            raise refused(str(error)) from None
    # Filters that would make every run fail are refused. Unknown keys are stored, as on the server.
    checked_filters(target_type, filters)
    kept = {name: value for name, value in filters.items() if name != _WEIGHTS}
    columns["filters"] = encode({**kept, _WEIGHTS: dict(weights)} if weights else kept)
    return columns
