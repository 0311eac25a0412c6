"""`client.monitors`: evaluation runs on a schedule, also as declared in a TOML file."""

# pyright: reportReturnType=false
# The signature of a method that is one request is the whole method.

from __future__ import annotations

import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Required, Unpack
from uuid import UUID

from pydantic import AfterValidator, Field, StrictBool

from pandaprobe_otel.api.calls import Steps, call, checked, invalid
from pandaprobe_otel.api.endpoint import Rate, Repeat
from pandaprobe_otel.api.fields import (
    MAX_PAGE,
    Arguments,
    Known,
    Moment,
    MonitorStatus,
    Paging,
    Share,
    TargetType,
    Title,
)
from pandaprobe_otel.api.models import EvalRun, Monitor, Page
from pandaprobe_otel.api.operation import D, PageWalk, Resource, endpoint, every, operation
from pandaprobe_otel.api.runs import MetricNames, Weights
from pandaprobe_otel.enums import TraceStatus
from pandaprobe_otel.errors import ConfigError, FieldError, InvalidRequest

_CADENCES: Final = ("every_6h", "daily", "weekly")
_CRON: Final = re.compile(r"cron:\S+(?: +\S+){4}")


def _cadence(text: str) -> str:
    if text not in _CADENCES and not _CRON.fullmatch(text):
        raise ValueError(f"must be one of {', '.join(_CADENCES)}, or cron: with five fields, not {text[:80]!r}")
    return text


Cadence = Annotated[str, AfterValidator(_cadence)]


class MonitorFilters(Arguments, total=False):
    """Filters of a list of monitors."""

    status: MonitorStatus | None


class MonitorListQuery(MonitorFilters, Paging, total=False):
    """Query of GET /evaluations/monitors."""


class MonitorTargets(Arguments, total=False):
    """Filters of the traces or sessions that a monitor evaluates; they depend on its target type, as for runs."""

    date_from: Moment | None
    date_to: Moment | None
    status: Known[TraceStatus] | None
    session_id: str | None
    user_id: str | None
    tags: list[str] | None
    name: str | None
    has_error: bool | None
    min_trace_count: Annotated[int, Field(ge=1)] | None


class MonitorArguments(Arguments, total=False):
    """Monitor to create. Weights of signals are for sessions only."""

    name: Required[Title]
    target_type: Required[TargetType]
    metrics: Required[MetricNames]
    filters: MonitorTargets
    sampling_rate: Share
    model: str | None
    cadence: Required[Cadence]
    only_if_changed: bool
    signal_weights: Weights | None


class MonitorChanges(Arguments, total=False):
    """Changes to a monitor; omitted fields stay."""

    name: Title
    metrics: MetricNames
    filters: MonitorTargets
    sampling_rate: Share
    model: str | None
    cadence: Cadence
    only_if_changed: bool
    signal_weights: Weights | None


_DEFAULTS: Final[Mapping[str, Any]] = {
    "filters": {},
    "sampling_rate": 1.0,
    "model": None,
    "only_if_changed": True,
    "signal_weights": None,
}
"""The server's defaults, which also apply to fields that a declaration omits."""


ACTIONS: Final = ("update", "resume", "create", "pause", "delete")
"""Order of changes: existing monitors first, deletions last."""


class Declaration(MonitorArguments, total=False):
    """A monitor as declared."""

    paused: StrictBool


class Declarations(Arguments, total=False):
    """Content of a file."""

    monitor: list[Declaration]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedChange:
    """Planned or completed operation on a monitor, with the values of its fields before and after it."""

    action: str
    name: str
    monitor_id: UUID | None = None
    """None for a monitor that does not exist yet."""
    before: Mapping[str, Any] = field(default_factory=dict[str, Any])
    after: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __str__(self) -> str:
        changes = (f"\n    {name}: {old!r} → {self.after[name]!r}" for name, old in self.before.items())
        return f"{self.action} {self.name}{''.join(changes)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorPlan:
    """Changes to make, and the names of the monitors that already match their declarations."""

    changes: tuple[PlannedChange, ...]
    unchanged: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([*map(str, self.changes), *(f"unchanged {name}" for name in self.unchanged)])


def read_declarations(source: str | os.PathLike[str] | Mapping[str, Any]) -> list[dict[str, Any]]:
    """Read the declarations in a file, or in a mapping of the same form.

    Raises:
        ConfigError: the file cannot be read or is not TOML.
        InvalidRequest: a declaration is invalid; `errors` has its place.
    """
    content, what = source, "The list of monitors"
    if not isinstance(content, Mapping):
        what = os.fspath(content)
        try:
            content = tomllib.loads(Path(content).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{what} cannot be read: {error}.") from None
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{what} is not TOML: {error}.") from None
    declared: list[dict[str, Any]] = checked(Declarations, content, what=what).get("monitor", [])
    counts = Counter(each["name"] for each in declared)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise invalid(what, FieldError("name", f"{twice[0]!r} is declared twice"))
    return declared


def plan_changes(declared: Sequence[Mapping[str, Any]], existing: Sequence[Monitor], *, prune: bool) -> MonitorPlan:
    """Compare declarations with existing monitors. Raises InvalidRequest for changes that cannot be made."""
    changes: list[PlannedChange] = []
    unchanged: list[str] = []
    for each in declared:
        needed = [*_changes(each, [monitor for monitor in existing if monitor.name == each["name"]])]
        changes += needed
        unchanged += [] if needed else [each["name"]]
    if prune:
        names = {each["name"] for each in declared}
        gone = (monitor for monitor in existing if monitor.name not in names)
        changes += (PlannedChange(action="delete", name=each.name, monitor_id=each.id) for each in gone)
    return MonitorPlan(changes=tuple(changes), unchanged=tuple(unchanged))


def _changes(declared: Mapping[str, Any], found: Sequence[Monitor]) -> Iterator[PlannedChange]:
    name, paused = declared["name"], declared.get("paused", False)
    body = {field: value for field, value in declared.items() if field != "paused"}
    if len(found) > 1:
        raise invalid(f"The monitor {name!r}", FieldError("name", f"belongs to {len(found)} monitors"))
    if not found:
        yield PlannedChange(action="create", name=name, after=body)
        if paused:
            yield PlannedChange(action="pause", name=name)
        return
    (monitor,) = found
    there, wanted = _as_declared(monitor), {**_DEFAULTS, **body}
    if there["target_type"] != wanted["target_type"]:
        words = f"is {there['target_type']} and cannot be changed: use another name"
        raise invalid(f"The monitor {name!r}", FieldError("target_type", words))
    if before := {field: value for field, value in there.items() if value != wanted[field]}:
        after = {field: wanted[field] for field in before}
        yield PlannedChange(action="update", name=name, monitor_id=monitor.id, before=before, after=after)
    if paused != (monitor.status == "PAUSED"):
        yield PlannedChange(action="pause" if paused else "resume", name=name, monitor_id=monitor.id)


def _as_declared(monitor: Monitor) -> dict[str, Any]:
    """Return the monitor in the form of a declaration. The server stores the weights with the filters (measured)."""
    filters = {key: value for key, value in monitor.filters.items() if value is not None}
    weights = filters.pop("signal_weights", None)
    with suppress(InvalidRequest):  # unknown filters of a newer server are compared unchanged
        filters = checked(MonitorTargets, filters, what="")
    names = ("target_type", "sampling_rate", "model", "cadence", "only_if_changed")
    values = {name: getattr(monitor, name) for name in names}
    return {**values, "metrics": monitor.metric_names, "filters": filters, "signal_weights": weights}


_ALL: Final = "/evaluations/monitors"
_ONE: Final = _ALL + "/{monitor_id}"


class Monitors(Resource[D]):
    """Operations on monitors."""

    @endpoint("POST", _ALL, repeat=Repeat.NEVER)
    def create(self, **monitor: Unpack[MonitorArguments]) -> Monitor:
        """Create a monitor: `cadence` is every_6h, daily, weekly or `cron:` with five fields."""

    @endpoint("GET", _ALL)
    def list(self, **query: Unpack[MonitorListQuery]) -> Page[Monitor]:
        """Return one page of monitors."""

    @every(list)
    def iter(self, *, page_size: int = MAX_PAGE, **filters: Unpack[MonitorFilters]) -> Monitor:
        """Iterate over all matching monitors, lazily: one request for each `page_size` (1 to 200) rows."""

    @endpoint("GET", _ONE)
    def get(self, monitor_id: UUID | str) -> Monitor:
        """Return a monitor."""

    @endpoint("PATCH", _ONE)
    def update(self, monitor_id: UUID | str, **changes: Unpack[MonitorChanges]) -> Monitor:
        """Change a monitor; omitted fields stay. Its target type cannot be changed."""

    @endpoint("DELETE", _ONE)
    def delete(self, monitor_id: UUID | str) -> None:
        """Delete a monitor; its runs stay."""

    @endpoint("POST", _ONE + "/pause")
    def pause(self, monitor_id: UUID | str) -> Monitor:
        """Pause a monitor; a paused monitor stays paused."""

    @endpoint("POST", _ONE + "/resume")
    def resume(self, monitor_id: UUID | str) -> Monitor:
        """Resume a monitor; an active monitor stays active."""

    @endpoint("POST", _ONE + "/trigger", repeat=Repeat.NEVER, rate=Rate.TRIGGER)
    def trigger(self, monitor_id: UUID | str) -> EvalRun:
        """Run a monitor now, even if it is paused. `client.evaluations.get(run.id)` returns a run to wait for."""

    @endpoint("GET", _ONE + "/runs")
    def runs(self, monitor_id: UUID | str, **paging: Unpack[Paging]) -> Page[EvalRun]:
        """Return one page of a monitor's runs, latest first."""

    @every(runs)
    def iter_runs(self, monitor_id: UUID | str, *, page_size: int = MAX_PAGE) -> EvalRun:
        """Iterate over all runs of a monitor, lazily."""

    @operation
    def plan(self, declared: str | os.PathLike[str] | Mapping[str, Any], *, prune: bool = False) -> Steps[MonitorPlan]:
        """Return the changes that `apply` would make. Changes nothing."""
        wanted = read_declarations(declared)
        walk = PageWalk(self._connection, Monitors.list.endpoint, query={})
        existing: dict[UUID, Monitor] = {}
        while rows := (yield from walk.next_rows()):
            existing.update((monitor.id, monitor) for monitor in rows)
        return plan_changes(wanted, tuple(existing.values()), prune=prune)

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
        plan = yield from Monitors.plan.method(self, declared, prune=prune)
        made: dict[str, UUID] = {}
        for change in sorted(plan.changes, key=lambda change: ACTIONS.index(change.action)):
            path = {} if change.action == "create" else {"monitor_id": change.monitor_id or made[change.name]}
            what = getattr(Monitors, change.action)
            done = yield from call(self._connection, what.endpoint, path=path, body=change.after)
            if change.action == "create":
                made[change.name] = done.id
        return plan
