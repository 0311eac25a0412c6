"""Rows of the store as the JSON objects of the API."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

from pandaprobe_otel.local.payloads import encode, fragment, merge_objects
from pandaprobe_otel.local.store.blocks import Content
from pandaprobe_otel.local.times import iso_or_none, micros_of, milliseconds

TRACE_COLUMNS: Final = (
    "seq, trace_id, project_id, status, started_at, ended_at, total_tokens, total_cost, session_id, user_id, name,"
    " environment, release, tags, metadata"
)
TRACE_LIST_COLUMNS: Final = (
    "seq, trace_id, status, started_at, ended_at, span_count, total_tokens, total_cost, session_id, user_id, name,"
    " environment, release, tags"
)
SPAN_COLUMNS: Final = (
    "span_id, trace_seq, parent_span_id, kind, status, started_at, ended_at, completion_start_time, name, model,"
    " token_usage, model_parameters, cost, metadata, error, block"
)
_JSON: Final = frozenset(("metadata", "tags", "token_usage", "model_parameters", "cost", "metric_names", "filters"))
_PAYLOADS: Final = ("input", "output")
_NEVER_NULL: Final = frozenset(("name", "kind", "status", "metadata", "tags"))
_MOMENTS: Final = frozenset(
    ("started_at", "ended_at", "completion_start_time", "created_at", "updated_at", "completed_at", "last_run_at")
) | {"next_run_at"}
_OWN: Final = frozenset(("seq", "trace_seq", "block", "targets", "number"))
"""Columns that the API does not have."""


def record(row: sqlite3.Row) -> dict[str, Any]:
    """Return the columns of a row as the API returns them. Stored JSON is passed through unchanged."""
    return {name: _value(name, row[name]) for name in row.keys() if name not in _OWN}  # noqa: SIM118 - no mapping


def payloads(content: Content) -> dict[str, Any]:
    """Return the input and output of a span or trace."""
    return dict(zip(_PAYLOADS, map(fragment, content[2:]), strict=True))


def trace_list_record(row: sqlite3.Row) -> dict[str, Any]:
    """Return an item of `GET /traces`."""
    return {**record(row), "latency_ms": milliseconds(row["started_at"], row["ended_at"])}


def span_record(row: sqlite3.Row, trace_id: str, content: Content) -> dict[str, Any]:
    """Return the object of a span."""
    started = row["started_at"]
    return {
        **record(row),
        **payloads(content),
        "trace_id": trace_id,
        "latency_ms": milliseconds(started, row["ended_at"]),
        "time_to_first_token_ms": milliseconds(started, row["completion_start_time"]),
    }


Condition: TypeAlias = tuple[str, list[Any]]
"""A condition of SQL, and its values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A page of a list."""

    limit: int
    offset: int = 0


def where_of(
    project_id: str, wanted: Mapping[str, Any], after: datetime | None = None, before: datetime | None = None
) -> Condition:
    """Return the SQL condition for rows of a project with the wanted values (None means any), and its values.

    `after` and `before` bound the moment of creation.
    """
    pairs = {"project_id = ?": project_id, **{f"{column} = ?": value for column, value in wanted.items()}}
    moments = {"created_at >= ?": after, "created_at < ?": before}
    pairs |= {condition: None if moment is None else micros_of(moment) for condition, moment in moments.items()}
    given = {condition: value for condition, value in pairs.items() if value is not None}
    return " AND ".join(given), list(given.values())


def insert(connection: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> None:
    """Insert a row."""
    names, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", row)


def update(
    connection: sqlite3.Connection, table: str, row_id: object, columns: Mapping[str, Any], key: str = "id"
) -> None:
    """Set columns of the row with an id."""
    if columns:
        assignments = ", ".join(f"{column} = ?" for column in columns)
        connection.execute(f"UPDATE {table} SET {assignments} WHERE {key} = ?", (*columns.values(), row_id))


def patched(row: sqlite3.Row, sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that a request changes. Null clears a field, but is ignored for those that need a value."""
    columns: dict[str, Any] = {}
    for field, value in sent.items():
        if value is None:
            if field not in _NEVER_NULL:
                columns[field] = None
        elif field == "metadata":
            columns[field] = merge_objects(row["metadata"], value)
        elif field in _JSON or field in _PAYLOADS:
            columns[field] = encode(value)
        else:
            columns[field] = micros_of(value) if isinstance(value, datetime) else value
    return columns


def patched_content(content: Content, columns: dict[str, Any], *, error: str | None = None) -> Content:
    """Return a content with the changes in `columns`, from which payloads are removed."""
    name, _, given, answered = content
    return columns.get("name", name), error, columns.pop("input", given), columns.pop("output", answered)


def _value(name: str, value: Any) -> Any:
    if name in _JSON:
        return fragment(value)
    return iso_or_none(value) if name in _MOMENTS else value
