"""Selection of the traces and sessions that a run evaluates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from random import SystemRandom
from typing import Any, TypeAlias

from pydantic import ValidationError

from pandaprobe_otel.local.errors import InvalidFieldError
from pandaprobe_otel.local.models.evaluations import SessionRunFilters, TraceRunFilters
from pandaprobe_otel.local.store.database import Database
from pandaprobe_otel.local.store.records import Condition
from pandaprobe_otel.local.store.trace_filter import TraceFilter

Filters: TypeAlias = TraceRunFilters | SessionRunFilters


def targets_of(database: Database, project_id: str, filters: Filters) -> list[str]:
    """Return the ids of the traces or sessions that match filters, newest first. Raises InvalidFieldError.

    A session matches by its matching traces: whether any ended in an error, and their number.
    """
    where, values = _condition(project_id, filters)
    statement = f"SELECT trace_id FROM traces WHERE {where} ORDER BY started_at DESC, seq DESC"
    if isinstance(filters, SessionRunFilters):
        having = "" if filters.has_error is None else f" AND MAX(status = 'ERROR') = {int(filters.has_error)}"
        statement = (
            f"SELECT session_id FROM traces WHERE {where} GROUP BY session_id"
            f" HAVING COUNT(*) >= ?{having} ORDER BY MAX(started_at) DESC"
        )
        values.append(filters.min_trace_count or 1)
    with database.read() as connection:
        return [row[0] for row in connection.execute(statement, values)]


def changed_since(database: Database, project_id: str, filters: Filters, since: int) -> bool:
    """Return whether a matching trace has started since a moment."""
    where, values = _condition(project_id, filters)
    with database.read() as connection:
        found = connection.execute(f"SELECT 1 FROM traces WHERE {where} AND started_at > ? LIMIT 1", (*values, since))
        return found.fetchone() is not None


def sample(targets: Sequence[str], rate: float) -> list[str]:
    """Return a random share of the targets: at least one, unless the rate is 0."""
    if rate >= 1.0:
        return list(targets)
    count = int(len(targets) * rate)
    return SystemRandom().sample(targets, max(count, 1)) if rate > 0 else []


def checked_filters(target_type: str, filters: Mapping[str, Any]) -> Filters:
    """Return a monitor's free-form filters as those of a run. Raises InvalidFieldError."""
    model = SessionRunFilters if target_type == "SESSION" else TraceRunFilters
    try:
        checked = model.model_validate(dict(filters))
    except ValidationError as error:
        first = error.errors()[0]
        place = " -> ".join(["filters", *(str(part) for part in first["loc"])])
        raise InvalidFieldError(place, first["msg"]) from None
    _condition("", checked)
    return checked


def _condition(project_id: str, filters: Filters) -> Condition:
    of_traces, given = isinstance(filters, TraceRunFilters), filters.model_dump()
    where, values = TraceFilter(
        session_id=given.get("session_id"),
        status=given.get("status"),
        user_id=given["user_id"] if of_traces else given["user_id"] or None,
        tags=tuple(given["tags"] or ()),
        name=given.get("name"),
        after=_moment(filters.date_from, "date_from"),
        before=_moment(filters.date_to, "date_to"),
    ).where(project_id)
    return where if of_traces else f"{where} AND session_id IS NOT NULL", values


def _moment(text: str | None, field: str) -> datetime | None:
    """Return the moment of a filter. Raises InvalidFieldError, where the real server fails with a 500."""
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        raise InvalidFieldError(f"filters -> {field}", "Input should be a date and time in ISO 8601") from None
