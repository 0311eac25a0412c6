"""Rows of the store as the JSON objects of the API."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from pandaprobe_otel.local.payloads import fragment
from pandaprobe_otel.local.times import iso_or_none, milliseconds

TRACE_COLUMNS: Final = (
    "seq, trace_id, project_id, status, started_at, ended_at, total_tokens, total_cost, session_id, user_id, name,"
    " environment, release, tags, metadata, input, output"
)
TRACE_LIST_COLUMNS: Final = (
    "seq, trace_id, status, started_at, ended_at, span_count, total_tokens, total_cost, session_id, user_id, name,"
    " environment, release, tags"
)
SPAN_COLUMNS: Final = (
    "span_id, trace_seq, parent_span_id, kind, status, started_at, ended_at, completion_start_time, name, model,"
    " token_usage, model_parameters, cost, metadata, error, block, input, output"
)
_JSON: Final = frozenset(
    ("input", "output", "metadata", "tags", "token_usage", "model_parameters", "cost", "metric_names", "filters")
)
_MOMENTS: Final = frozenset(
    ("started_at", "ended_at", "completion_start_time", "created_at", "updated_at", "completed_at", "last_run_at")
) | {"next_run_at"}
_OWN: Final = frozenset(("seq", "trace_seq", "block"))
"""Columns that the API does not have."""


def record(row: sqlite3.Row) -> dict[str, Any]:
    """Return the columns of a row as the API returns them. Stored JSON is passed through unchanged."""
    return {name: _value(name, row[name]) for name in row.keys() if name not in _OWN}  # noqa: SIM118 - no mapping


def trace_record(row: sqlite3.Row, spans: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the object of `GET /traces/{id}`."""
    return {**record(row), "spans": spans}


def trace_list_record(row: sqlite3.Row) -> dict[str, Any]:
    """Return an item of `GET /traces`."""
    return {**record(row), "latency_ms": milliseconds(row["started_at"], row["ended_at"])}


def span_record(row: sqlite3.Row, trace_id: str) -> dict[str, Any]:
    """Return the object of a span."""
    started = row["started_at"]
    return {
        **record(row),
        "trace_id": trace_id,
        "latency_ms": milliseconds(started, row["ended_at"]),
        "time_to_first_token_ms": milliseconds(started, row["completion_start_time"]),
    }


def _value(name: str, value: Any) -> Any:
    if name in _JSON:
        return fragment(value)
    return iso_or_none(value) if name in _MOMENTS else value
