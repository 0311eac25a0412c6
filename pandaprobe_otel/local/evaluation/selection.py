"""Selection of the traces and sessions that a run evaluates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from random import SystemRandom
from typing import Any

from pydantic import ValidationError

from pandaprobe_otel.local.errors import InvalidFieldError
from pandaprobe_otel.local.models.evaluations import SessionRunFilters, TraceRunFilters
from pandaprobe_otel.local.store.database import Database
from pandaprobe_otel.local.store.trace_filter import TraceFilter
from pandaprobe_otel.local.times import micros_of


class Selection:
    """A resolver of filters to ids, newest first."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def traces(self, project_id: str, filters: TraceRunFilters) -> list[str]:
        """Return the ids of the matching traces. Raises InvalidFieldError for an invalid date."""
        where, values = _trace_filter(filters).where(project_id)
        with self._database.read() as connection:
            rows = connection.execute(
                f"SELECT trace_id FROM traces WHERE {where} ORDER BY started_at DESC, seq DESC", values
            ).fetchall()
        return [row["trace_id"] for row in rows]

    def sessions(self, project_id: str, filters: SessionRunFilters) -> list[str]:
        """Return the ids of sessions with a matching trace.

        `has_error` (whether any trace ended in an error) and `min_trace_count` consider only matching traces.
        """
        wanted = TraceFilter(
            user_id=filters.user_id or None,
            tags=tuple(filters.tags or ()),
            after=filter_date(filters.date_from, "filters -> date_from"),
            before=filter_date(filters.date_to, "filters -> date_to"),
        )
        where, values = wanted.where(project_id)
        where += " AND session_id IS NOT NULL"
        having = "" if filters.has_error is None else f" AND MAX(status = 'ERROR') = {int(filters.has_error)}"
        with self._database.read() as connection:
            rows = connection.execute(
                f"SELECT session_id FROM traces WHERE {where} GROUP BY session_id"
                f" HAVING COUNT(*) >= ?{having} ORDER BY MAX(started_at) DESC",
                (*values, filters.min_trace_count or 1),
            ).fetchall()
        return [row["session_id"] for row in rows]

    def changed_since(self, project_id: str, target_type: str, filters: Mapping[str, Any], since: int) -> bool:
        """Return whether a matching trace has started since a moment."""
        wanted = _trace_filter(trace_filters(filters))
        where, values = wanted.where(project_id)
        if target_type == "SESSION":
            where += " AND session_id IS NOT NULL"
        with self._database.read() as connection:
            row = connection.execute(
                f"SELECT 1 FROM traces WHERE {where} AND started_at > ? LIMIT 1", (*values, since)
            ).fetchone()
        return row is not None


def sample(targets: Sequence[str], rate: float) -> list[str]:
    """Return a random share of the targets: at least one, unless the rate is 0."""
    if rate >= 1.0:
        return list(targets)
    count = int(len(targets) * rate)
    return SystemRandom().sample(targets, max(count, 1)) if rate > 0 else []


def trace_filters(filters: Mapping[str, Any]) -> TraceRunFilters:
    """Return a monitor's free-form filters as those of a trace run. Raises InvalidFieldError."""
    try:
        return TraceRunFilters.model_validate(dict(filters))
    except ValidationError as error:
        raise _invalid(error) from None


def session_filters(filters: Mapping[str, Any]) -> SessionRunFilters:
    """Return a monitor's free-form filters as those of a session run. Raises InvalidFieldError."""
    try:
        return SessionRunFilters.model_validate(dict(filters))
    except ValidationError as error:
        raise _invalid(error) from None


def filter_date(text: str | None, field: str) -> int | None:
    """Return the microseconds of a filter's date. Raises InvalidFieldError, where the real server fails with a 500."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return micros_of(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except ValueError:
        raise InvalidFieldError(field, "Input should be a date and time in ISO 8601") from None


def _trace_filter(filters: TraceRunFilters) -> TraceFilter:
    return TraceFilter(
        session_id=filters.session_id,
        status=None if filters.status is None else filters.status.value,
        user_id=filters.user_id,
        tags=tuple(filters.tags or ()),
        name=filters.name,
        after=filter_date(filters.date_from, "filters -> date_from"),
        before=filter_date(filters.date_to, "filters -> date_to"),
    )


def _invalid(error: ValidationError) -> InvalidFieldError:
    first = error.errors()[0]
    return InvalidFieldError(" -> ".join(["filters", *(str(part) for part in first["loc"])]), first["msg"])
