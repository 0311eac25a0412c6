"""`client.monitors`: evaluation runs on a schedule."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final, Unpack
from uuid import UUID

from pandaprobe_otel.api.arguments.base import Paging
from pandaprobe_otel.api.arguments.monitors import MonitorArguments, MonitorChanges, MonitorFilters, MonitorListQuery
from pandaprobe_otel.api.call_steps import Steps, call
from pandaprobe_otel.api.endpoint import Endpoint, Rate, Repeat
from pandaprobe_otel.api.fields import MAX_PAGE
from pandaprobe_otel.api.models import EvalRun, Monitor, Page
from pandaprobe_otel.api.monitors_as_code import (
    ACTIONS,
    Action,
    Declaration,
    MonitorPlan,
    PlannedChange,
    plan_changes,
    read_declarations,
)
from pandaprobe_otel.api.operation import AsyncResource, Resource, SyncResource, iteration, operation
from pandaprobe_otel.api.paging import PageWalk
from pandaprobe_otel.api.path_values import uuid_of

_ALL: Final = "/evaluations/monitors"
_ONE: Final = _ALL + "/{monitor_id}"

CREATE: Final = Endpoint(method="POST", path=_ALL, body=MonitorArguments, answer=Monitor, repeat=Repeat.NEVER)
LIST: Final = Endpoint(method="GET", path=_ALL, query=MonitorListQuery, answer=Page[Monitor])
GET: Final = Endpoint(method="GET", path=_ONE, answer=Monitor)
UPDATE: Final = Endpoint(method="PATCH", path=_ONE, body=MonitorChanges, answer=Monitor)
DELETE: Final = Endpoint(method="DELETE", path=_ONE, answer=type(None))
PAUSE: Final = Endpoint(method="POST", path=_ONE + "/pause", answer=Monitor)
RESUME: Final = Endpoint(method="POST", path=_ONE + "/resume", answer=Monitor)
TRIGGER: Final = Endpoint(method="POST", path=_ONE + "/trigger", answer=EvalRun, repeat=Repeat.NEVER, rate=Rate.TRIGGER)
RUNS: Final = Endpoint(method="GET", path=_ONE + "/runs", query=Paging, answer=Page[EvalRun])


class MonitorOperations(Resource):
    """Operations on monitors."""

    @operation
    def create(self, **monitor: Unpack[MonitorArguments]) -> Steps[Monitor]:
        """Create a monitor: `cadence` is every_6h, daily, weekly or `cron:` with five fields."""
        return call(self._connection, CREATE, body=monitor)

    @operation
    def list(self, **query: Unpack[MonitorListQuery]) -> Steps[Page[Monitor]]:
        """Return one page of monitors."""
        return call(self._connection, LIST, query=query)

    @iteration
    def iter(self, *, page_size: int = MAX_PAGE, **filters: Unpack[MonitorFilters]) -> PageWalk[Monitor]:
        """Iterate over all matching monitors, lazily: one request for each `page_size` (1 to 200) rows."""
        return PageWalk(self._connection, LIST, query=filters, key=lambda monitor: monitor.id, page_size=page_size)

    @operation
    def get(self, monitor_id: UUID | str) -> Steps[Monitor]:
        """Return a monitor."""
        return call(self._connection, GET, path=_path(monitor_id, GET))

    @operation
    def update(self, monitor_id: UUID | str, **changes: Unpack[MonitorChanges]) -> Steps[Monitor]:
        """Change a monitor; omitted fields stay. Its target type cannot be changed."""
        return call(self._connection, UPDATE, path=_path(monitor_id, UPDATE), body=changes)

    @operation
    def delete(self, monitor_id: UUID | str) -> Steps[None]:
        """Delete a monitor; its runs stay."""
        return call(self._connection, DELETE, path=_path(monitor_id, DELETE))

    @operation
    def pause(self, monitor_id: UUID | str) -> Steps[Monitor]:
        """Pause a monitor; a paused monitor stays paused."""
        return call(self._connection, PAUSE, path=_path(monitor_id, PAUSE))

    @operation
    def resume(self, monitor_id: UUID | str) -> Steps[Monitor]:
        """Resume a monitor; an active monitor stays active."""
        return call(self._connection, RESUME, path=_path(monitor_id, RESUME))

    @operation
    def trigger(self, monitor_id: UUID | str) -> Steps[EvalRun]:
        """Run a monitor now, even if it is paused. `client.evaluations.get(run.id)` returns a run to wait for."""
        return call(self._connection, TRIGGER, path=_path(monitor_id, TRIGGER))

    @operation
    def runs(self, monitor_id: UUID | str, **paging: Unpack[Paging]) -> Steps[Page[EvalRun]]:
        """Return one page of a monitor's runs, latest first."""
        return call(self._connection, RUNS, path=_path(monitor_id, RUNS), query=paging)

    @iteration
    def iter_runs(self, monitor_id: UUID | str, *, page_size: int = MAX_PAGE) -> PageWalk[EvalRun]:
        """Iterate over all runs of a monitor, lazily."""
        return PageWalk(
            self._connection,
            RUNS,
            path=_path(monitor_id, RUNS),
            query={},
            key=lambda run: run.id,
            page_size=page_size,
        )

    @operation
    def plan(self, declared: str | os.PathLike[str] | Mapping[str, Any], *, prune: bool = False) -> Steps[MonitorPlan]:
        """Return the changes that `apply` would make. Changes nothing."""
        return self._planned(read_declarations(declared), prune=prune)

    @operation
    def apply(self, declared: str | os.PathLike[str] | Mapping[str, Any], *, prune: bool = False) -> Steps[MonitorPlan]:
        """Make the project's monitors match a TOML file (or a mapping like it); return the changes.

        Monitors are identified by their names. Undeclared monitors are left alone or, with `prune`, deleted. Applying
        the same declarations again changes nothing.

            [[monitor]]
            name = "nightly"
            target_type = "TRACE"
            metrics = ["task_completion"]
            cadence = "daily"
            sampling_rate = 0.2
            filters = { tags = ["production"] }
            paused = false

        Raises:
            ConfigError: the file cannot be read.
            InvalidRequest: a declaration is invalid, or a change cannot be made; nothing was changed.
        """
        return self._applied(read_declarations(declared), prune=prune)

    def _planned(self, declarations: tuple[Declaration, ...], *, prune: bool) -> Steps[MonitorPlan]:
        walk = PageWalk(self._connection, LIST, query={}, key=lambda monitor: monitor.id, page_size=MAX_PAGE)
        existing: dict[UUID, Monitor] = {}
        while rows := (yield from walk.next_rows()):
            existing.update((monitor.id, monitor) for monitor in rows)
        return plan_changes(declarations, tuple(existing.values()), prune=prune)

    def _applied(self, declarations: tuple[Declaration, ...], *, prune: bool) -> Steps[MonitorPlan]:
        plan = yield from self._planned(declarations, prune=prune)
        for change in sorted(plan.changes, key=lambda change: ACTIONS.index(change.action)):
            yield from self._apply_one(change)
        return plan

    def _apply_one(self, change: PlannedChange) -> Steps[None]:
        path = {"monitor_id": change.monitor_id}
        match change.action:
            case Action.CREATE:
                made = yield from call(self._connection, CREATE, body=change.body)
                if change.paused:
                    yield from call(self._connection, PAUSE, path={"monitor_id": made.id})
            case Action.UPDATE:
                yield from call(self._connection, UPDATE, path=path, body=change.body)
            case Action.PAUSE:
                yield from call(self._connection, PAUSE, path=path)
            case Action.RESUME:
                yield from call(self._connection, RESUME, path=path)
            case Action.DELETE:
                yield from call(self._connection, DELETE, path=path)


class Monitors(MonitorOperations, SyncResource):
    """`Client.monitors`."""


class AsyncMonitors(MonitorOperations, AsyncResource):
    """`AsyncClient.monitors`."""


def _path(monitor_id: UUID | str, endpoint: Endpoint[Any]) -> dict[str, str]:
    return {"monitor_id": uuid_of("monitor_id", monitor_id, what=str(endpoint))}
