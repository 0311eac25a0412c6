"""Spans: insert, merge by id, patch.

Merge rules (measured on server 0.5.0): Name, kind, status, start, input, output, usage, parameters and cost are
overwritten, even if omitted. Model, end, error and first-token time stay if omitted. Metadata is merged on its first
level. The parent never changes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from pandaprobe_otel.local.models.fields import token_count
from pandaprobe_otel.local.models.traces import SpanCreate, SpanUpdate
from pandaprobe_otel.local.payloads import dumps, encode, merge_objects
from pandaprobe_otel.local.store import blocks
from pandaprobe_otel.local.store.records import SPAN_COLUMNS, patched, patched_content, payloads, record, span_record
from pandaprobe_otel.local.store.records import update as change
from pandaprobe_otel.local.times import micros_of

_INSERT: Final = """
    INSERT INTO spans (
        span_id, trace_seq, parent_span_id, kind, status, started_at, ended_at, completion_start_time, prompt_tokens,
        completion_tokens, total_cost, name, model, token_usage, model_parameters, cost, metadata, error, block
    ) VALUES (
        :span_id, :trace_seq, :parent_span_id, :kind, :status, :started_at, :ended_at, :completion_start_time,
        :prompt_tokens, :completion_tokens, :total_cost, :name, :model, :token_usage, :model_parameters, :cost,
        :metadata, :error, :block
    )
"""
_MERGE: Final = """
    UPDATE spans SET
        kind = :kind, status = :status, started_at = :started_at, name = :name,
        token_usage = :token_usage, model_parameters = :model_parameters, cost = :cost,
        prompt_tokens = :prompt_tokens, completion_tokens = :completion_tokens, total_cost = :total_cost,
        model = COALESCE(:model, model), ended_at = COALESCE(:ended_at, ended_at), error = :error,
        completion_start_time = COALESCE(:completion_start_time, completion_start_time), metadata = :metadata
    WHERE span_id = :span_id
"""
_TOTALS: Final = """
    UPDATE traces SET (span_count, total_tokens, total_cost, longest_ttft, shortest_ttft) = (
        SELECT COUNT(*), COALESCE(SUM(prompt_tokens + completion_tokens), 0), COALESCE(SUM(total_cost), 0.0),
            MAX(completion_start_time - started_at), MIN(completion_start_time - started_at)
        FROM spans WHERE trace_seq = traces.seq
    ) WHERE seq = ?
"""


Changed: TypeAlias = Mapping[int, blocks.Contents]
"""Contents to store, by their blocks."""


class ForeignSpanError(Exception):
    """A span id belongs to another trace. The real server would change the span of that trace."""

    def __init__(self, index: int, span_id: str) -> None:
        super().__init__(span_id)
        self.index = index
        self.span_id = span_id


def whole_trace(connection: sqlite3.Connection, row: sqlite3.Row) -> dict[str, Any]:
    """Return the object of `GET /traces/{id}` for a row of `TRACE_COLUMNS`: spans come by start, then id."""
    first = blocks.block_of(row["seq"])
    rows = connection.execute(
        f"SELECT {SPAN_COLUMNS} FROM spans WHERE trace_seq = ? ORDER BY started_at, span_id", (row["seq"],)
    ).fetchall()
    contents = blocks.read(connection, {first, *(span["block"] for span in rows)})
    return {
        **record(row),
        **payloads(contents[first][blocks.TRACE]),
        "spans": [span_record(span, row["trace_id"], contents[span["block"]][span["span_id"]]) for span in rows],
    }


def save_spans(connection: sqlite3.Connection, trace_seq: int, spans: Sequence[SpanCreate]) -> Changed:
    """Insert or merge spans of one trace, in order, update the trace's totals, and return the contents to store.

    Raises ForeignSpanError, and TooDeepError for a too deeply nested payload. The caller's transaction must then be
    rolled back.
    """
    rows = [_row(trace_seq, span) for span in spans]
    known = _known(connection, trace_seq, rows)
    new = blocks.next_block(connection, trace_seq)
    changed: dict[int, dict[str, blocks.Content]] = {}
    inserts: list[dict[str, Any]] = []
    for row in rows:
        span_id = row["span_id"]
        earlier = known.get(span_id)
        row["block"] = new if earlier is None else earlier["block"]
        if earlier is None:
            inserts.append(row)
        else:
            # A repeated id in one body merges into the row of its first occurrence, so that row must be stored first.
            connection.executemany(_INSERT, inserts)
            inserts.clear()
            row["metadata"] = merge_objects(earlier["metadata"], row["new_metadata"])
            row["error"] = earlier["error"] if row["error"] is None else row["error"]
            connection.execute(_MERGE, row)
        known[span_id] = row
        changed.setdefault(row["block"], {})[span_id] = (row["name"], row["error"], row["input"], row["output"])
    connection.executemany(_INSERT, inserts)
    if rows:
        connection.execute(_TOTALS, (trace_seq,))
    return changed


def patch_span(connection: sqlite3.Connection, row: sqlite3.Row, update: SpanUpdate) -> Changed:
    """Change the fields in the request, and return the contents to store. Null clears a field, but is ignored for name,
    kind, status and metadata.
    """
    columns = patched(row, update.sent())
    if "token_usage" in columns:
        columns["prompt_tokens"], columns["completion_tokens"] = _tokens(update.token_usage)
    if "cost" in columns:
        columns["total_cost"] = (update.cost or {}).get("total", 0.0)
    span_id, block = row["span_id"], row["block"]
    earlier = blocks.read(connection, [block])[block][span_id]
    content = patched_content(earlier, columns, error=columns.get("error", row["error"]))
    if columns:
        change(connection, "spans", span_id, columns, "span_id")
        connection.execute(_TOTALS, (row["trace_seq"],))
    return {block: {span_id: content}}


def _row(trace_seq: int, span: SpanCreate) -> dict[str, Any]:
    prompt, completion = _tokens(span.token_usage)
    ended, first_token = span.ended_at, span.completion_start_time
    return {
        "span_id": str(span.span_id),
        "trace_seq": trace_seq,
        "parent_span_id": None if span.parent_span_id is None else str(span.parent_span_id),
        "kind": span.kind.value,
        "status": span.status.value,
        "started_at": micros_of(span.started_at),
        "ended_at": None if ended is None else micros_of(ended),
        "completion_start_time": None if first_token is None else micros_of(first_token),
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_cost": (span.cost or {}).get("total", 0.0),
        "name": span.name,
        "model": span.model,
        "token_usage": encode(span.token_usage),
        "model_parameters": encode(span.model_parameters),
        "cost": encode(span.cost),
        "metadata": encode(span.metadata) or "{}",
        "new_metadata": span.metadata,
        "error": span.error,
        "input": encode(span.input),
        "output": encode(span.output),
    }


def _tokens(usage: dict[str, Any] | None) -> tuple[int, int]:
    usage = usage or {}
    return token_count(usage.get("prompt_tokens")) or 0, token_count(usage.get("completion_tokens")) or 0


def _known(connection: sqlite3.Connection, trace_seq: int, rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what merging needs of the existing spans, by id."""
    if not rows:
        return {}
    ids = dumps([row["span_id"] for row in rows]).decode()
    found = connection.execute(
        "SELECT span_id, trace_seq, metadata, error, block FROM spans"
        " WHERE span_id IN (SELECT value FROM json_each(?))",
        (ids,),
    ).fetchall()
    if any(row["trace_seq"] != trace_seq for row in found):
        foreign = {row["span_id"] for row in found if row["trace_seq"] != trace_seq}
        index = next(i for i, row in enumerate(rows) if row["span_id"] in foreign)
        raise ForeignSpanError(index, rows[index]["span_id"])
    return {row["span_id"]: dict(row) for row in found}
