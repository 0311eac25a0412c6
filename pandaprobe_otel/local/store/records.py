"""Rows of the store as the JSON objects of the API."""

from __future__ import annotations

import sqlite3
from typing import Any

from pandaprobe_otel.local.payloads import fragment
from pandaprobe_otel.local.times import iso, iso_or_none, milliseconds

TRACE_COLUMNS = (
    "seq, trace_id, project_id, status, started_at, ended_at, span_count, total_tokens, total_cost, session_id, "
    "user_id, name, environment, release, tags, metadata, input, output"
)
TRACE_LIST_COLUMNS = (
    "trace_id, status, started_at, ended_at, span_count, total_tokens, total_cost, session_id, user_id, name, "
    "environment, release, tags"
)
SPAN_COLUMNS = (
    "span_id, trace_seq, parent_span_id, kind, status, started_at, ended_at, completion_start_time, prompt_tokens, "
    "completion_tokens, total_cost, name, model, token_usage, model_parameters, cost, metadata, error, block, "
    "input, output"
)


def trace_record(row: sqlite3.Row, spans: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the object of `GET /traces/{id}`. JSON columns are passed through unchanged."""
    return {
        "trace_id": row["trace_id"],
        "project_id": row["project_id"],
        "name": row["name"],
        "status": row["status"],
        "input": fragment(row["input"]),
        "output": fragment(row["output"]),
        "metadata": fragment(row["metadata"]),
        "started_at": iso(row["started_at"]),
        "ended_at": iso_or_none(row["ended_at"]),
        "session_id": row["session_id"],
        "user_id": row["user_id"],
        "tags": fragment(row["tags"]),
        "environment": row["environment"],
        "release": row["release"],
        "spans": spans,
        "total_tokens": row["total_tokens"],
        "total_cost": row["total_cost"],
    }


def trace_list_record(row: sqlite3.Row) -> dict[str, Any]:
    """Return an item of `GET /traces`."""
    return {
        "trace_id": row["trace_id"],
        "name": row["name"],
        "status": row["status"],
        "started_at": iso(row["started_at"]),
        "ended_at": iso_or_none(row["ended_at"]),
        "session_id": row["session_id"],
        "user_id": row["user_id"],
        "tags": fragment(row["tags"]),
        "environment": row["environment"],
        "release": row["release"],
        "latency_ms": milliseconds(row["started_at"], row["ended_at"]),
        "span_count": row["span_count"],
        "total_tokens": row["total_tokens"],
        "total_cost": row["total_cost"],
    }


def span_record(row: sqlite3.Row, trace_id: str) -> dict[str, Any]:
    """Return the object of a span."""
    started = row["started_at"]
    return {
        "span_id": row["span_id"],
        "trace_id": trace_id,
        "parent_span_id": row["parent_span_id"],
        "name": row["name"],
        "kind": row["kind"],
        "status": row["status"],
        "input": fragment(row["input"]),
        "output": fragment(row["output"]),
        "model": row["model"],
        "token_usage": fragment(row["token_usage"]),
        "metadata": fragment(row["metadata"]),
        "started_at": iso(started),
        "ended_at": iso_or_none(row["ended_at"]),
        "error": row["error"],
        "completion_start_time": iso_or_none(row["completion_start_time"]),
        "model_parameters": fragment(row["model_parameters"]),
        "cost": fragment(row["cost"]),
        "latency_ms": milliseconds(started, row["ended_at"]),
        "time_to_first_token_ms": milliseconds(started, row["completion_start_time"]),
    }
