"""Findings of traces, derived when a trace is sealed and again when its scores change."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pandaprobe_otel.failures.find import find_failures
from pandaprobe_otel.failures.finding import RULES, FailureKind, Finding
from pandaprobe_otel.failures.low_scores import is_low
from pandaprobe_otel.local.payloads import dumps
from pandaprobe_otel.local.sealing.derivation import Derivation
from pandaprobe_otel.local.sealing.stored_trace import StoredTrace, read_trace


def judge_findings_anew(connection: sqlite3.Connection, trace_id: str) -> None:
    """Derive again the findings of a trace whose scores have changed, inside the caller's transaction."""
    row = connection.execute(
        "SELECT seq FROM traces WHERE trace_id = ?"
        " AND NOT EXISTS (SELECT 1 FROM unsealed WHERE unsealed.trace_seq = traces.seq)",
        (trace_id,),
    ).fetchone()
    if row is None:
        return  # It is not sealed yet. Its scores are read when it is sealed.
    was_judged = connection.execute(
        "SELECT 1 FROM findings WHERE trace_seq = ? AND kind = ?", (row["seq"], FailureKind.JUDGED)
    ).fetchone()
    if was_judged is None and not _low_scores(connection, trace_id):
        return
    trace = read_trace(connection, row["seq"])
    if trace is not None:
        _forget(connection, trace, ())
        _keep_of(connection, trace, _derive(trace))


def _derive(trace: StoredTrace) -> Sequence[Finding]:
    return find_failures(trace.record)


def _keep(connection: sqlite3.Connection, traces: Sequence[tuple[StoredTrace, Sequence[Finding]]]) -> None:
    for trace, found in traces:
        _keep_of(connection, trace, found)


def _keep_of(connection: sqlite3.Connection, trace: StoredTrace, found: Sequence[Finding]) -> None:
    project_id, started_at, release = trace.project_id, trace.row["started_at"], trace.row["release"]
    scores = _low_scores(connection, trace.row["trace_id"])
    if scores:
        found = find_failures(trace.record, scores)
    if release is not None:
        connection.execute(
            "INSERT INTO releases VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET first_at = excluded.first_at"
            " WHERE excluded.first_at < first_at",
            (project_id, release, started_at),
        )
    for position, one in enumerate(found):
        connection.execute(
            "INSERT INTO failure_groups (project_id, fingerprint, kind, title, parts, marked, rules, first_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET first_at = excluded.first_at"
            " WHERE excluded.first_at < first_at",
            (
                *(project_id, one.fingerprint, one.kind, one.title, dumps(dict(one.parts)).decode()),
                *(one.marked is not None, RULES, started_at),
            ),
        )
        connection.execute(
            "INSERT INTO findings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(project_id, trace.seq, one.fingerprint, one.kind, position, one.recovered, started_at, release),
                *(one.span_id, one.text),
            ),
        )


def _forget(connection: sqlite3.Connection, trace: StoredTrace, _found: Sequence[Finding]) -> None:
    connection.execute("DELETE FROM findings WHERE trace_seq = ?", (trace.seq,))


def _clear(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM findings")


def _low_scores(connection: sqlite3.Connection, trace_id: str) -> list[Mapping[str, Any]]:
    """Return the latest score of each name, if it is low enough to count as a failure."""
    rows = connection.execute(
        "SELECT name, value, data_type, reason FROM trace_scores WHERE trace_id = ? AND status = 'SUCCESS'"
        " ORDER BY created_at, seq",
        (trace_id,),
    ).fetchall()
    latest: dict[str, Mapping[str, Any]] = {row["name"]: dict(row) for row in rows}
    return [score for score in latest.values() if is_low(score["value"])]


FINDINGS: Final = Derivation(name="findings", version=1, derive=_derive, keep=_keep, forget=_forget, clear=_clear)
"""The version stays the same when the rules change, because older findings stay in their groups."""
