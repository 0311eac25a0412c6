"""Spans: insert, merge by id, patch.

Merge rules (measured on server 0.5.0): Name, kind, status, start, input, output, usage, parameters and cost are
overwritten, even if omitted. Model, end, error and first-token time stay if omitted. Metadata is merged on its first
level. The parent never changes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from pandaprobe_otel.local.models.fields import token_count
from pandaprobe_otel.local.models.traces import SpanCreate, SpanUpdate
from pandaprobe_otel.local.payloads import dumps, encode, merge_objects
from pandaprobe_otel.local.store import blocks
from pandaprobe_otel.local.store.records import SPAN_COLUMNS
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
        model = COALESCE(:model, model), ended_at = COALESCE(:ended_at, ended_at), error = COALESCE(:error, error),
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


class ForeignSpanError(Exception):
    """A span id belongs to another trace. The real server would change the span of that trace."""

    def __init__(self, index: int, span_id: str) -> None:
        super().__init__(span_id)
        self.index = index
        self.span_id = span_id


def spans_of(connection: sqlite3.Connection, trace_seq: int) -> list[sqlite3.Row]:
    """Return the rows of a trace's spans, ordered by start, then id."""
    return connection.execute(
        f"SELECT {SPAN_COLUMNS} FROM whole_spans WHERE trace_seq = ? ORDER BY started_at, span_id", (trace_seq,)
    ).fetchall()


def save_spans(connection: sqlite3.Connection, trace_seq: int, spans: Sequence[SpanCreate], *, fresh: bool) -> None:
    """Insert or merge spans of one trace, in order, and update the trace's totals.

    `fresh`: the trace has no spans yet. Raises ForeignSpanError, and TooDeepError for a too deeply nested payload. The
    caller's transaction must then be rolled back.
    """
    rows = [_row(trace_seq, span) for span in spans]
    known = _known(connection, trace_seq, rows)
    block = blocks.next_block(connection, trace_seq)
    places = {row["span_id"]: known[row["span_id"]]["block"] if row["span_id"] in known else block for row in rows}
    metadata = {span_id: row["metadata"] for span_id, row in known.items()}
    contents: dict[str, blocks.Content] = {}
    inserts: list[dict[str, Any]] = []
    for row in rows:
        span_id, error = row["span_id"], row["error"]
        if error is None and span_id in contents:
            error = contents[span_id][1]
        contents[span_id] = (row["name"], error, row["input"], row["output"])
        if span_id not in metadata:
            inserts.append({**row, "block": block})
            metadata[span_id] = row["metadata"]
        else:
            # A repeated id in one body merges into the row of its first occurrence, so that row must be stored first.
            connection.executemany(_INSERT, inserts)
            inserts.clear()
            row["metadata"] = metadata[span_id] = merge_objects(metadata[span_id], row["new_metadata"])
            connection.execute(_MERGE, row)
    connection.executemany(_INSERT, inserts)
    blocks.keep_spans(connection, contents, places)
    if rows or not fresh:
        connection.execute(_TOTALS, (trace_seq,))


def patch_span(connection: sqlite3.Connection, row: sqlite3.Row, update: SpanUpdate) -> None:
    """Change the fields in the request. Null clears a field, but is ignored for name, kind, status and metadata."""
    sent = update.sent()
    columns: dict[str, Any] = {}
    for field in ("name", "kind", "status"):
        if sent.get(field) is not None:
            columns[field] = sent[field]
    for field in ("model", "error"):
        if field in sent:
            columns[field] = sent[field]
    for field in ("ended_at", "completion_start_time"):
        if field in sent:
            columns[field] = None if sent[field] is None else micros_of(sent[field])
    for field in ("model_parameters", "token_usage", "cost"):
        if field in sent:
            columns[field] = encode(sent[field])
    if "token_usage" in sent:
        columns["prompt_tokens"], columns["completion_tokens"] = _tokens(update.token_usage)
    if "cost" in sent:
        columns["total_cost"] = (update.cost or {}).get("total", 0.0)
    if sent.get("metadata") is not None:
        columns["metadata"] = merge_objects(row["metadata"], sent["metadata"])
    if columns:
        assignments = ", ".join(f"{column} = ?" for column in columns)
        connection.execute(f"UPDATE spans SET {assignments} WHERE span_id = ?", (*columns.values(), row["span_id"]))
        connection.execute(_TOTALS, (row["trace_seq"],))
    contents: dict[str, str | None] = {field: encode(sent[field]) for field in ("input", "output") if field in sent}
    new: dict[str, Any] = {**dict(row), **columns, **contents}
    blocks.put(connection, row["block"], row["span_id"], (new["name"], new["error"], new["input"], new["output"]))


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


def _known(connection: sqlite3.Connection, trace_seq: int, rows: list[dict[str, Any]]) -> dict[str, sqlite3.Row]:
    """Return the metadata and the blocks of the existing spans, by id."""
    if not rows:
        return {}
    ids = dumps([row["span_id"] for row in rows]).decode()
    found = connection.execute(
        "SELECT span_id, trace_seq, metadata, block FROM spans WHERE span_id IN (SELECT value FROM json_each(?))",
        (ids,),
    ).fetchall()
    if any(row["trace_seq"] != trace_seq for row in found):
        foreign = {row["span_id"] for row in found if row["trace_seq"] != trace_seq}
        index = next(i for i, row in enumerate(rows) if row["span_id"] in foreign)
        raise ForeignSpanError(index, rows[index]["span_id"])
    return {row["span_id"]: row for row in found}
