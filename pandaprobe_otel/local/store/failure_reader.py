"""Findings of traces: derived in the background, within a second after the last change of a trace.

A change of a trace deletes its findings and notes it as unread, in the same transaction, so that findings are never
outdated. A counter keeps a trace unread that changes while it is read.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from pandaprobe_otel.failures.find import find_failures
from pandaprobe_otel.failures.finding import RULES, FailureKind, Finding
from pandaprobe_otel.failures.low_scores import is_low
from pandaprobe_otel.local.payloads import dumps, loads
from pandaprobe_otel.local.store.database import AT_ONCE, Database
from pandaprobe_otel.local.store.records import TRACE_COLUMNS, span_record, trace_record
from pandaprobe_otel.local.store.spans import spans_of

_log = logging.getLogger(__name__)

QUIET_S: Final = 0.5


class FailureReader:
    """Reader of the failures in new and changed traces. Its thread starts with the first change."""

    def __init__(self, database: Database, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._recent: dict[int, float] = {}
        self._failed: set[int] = set()
        """Traces whose failures cannot be found or kept. They stay unread until they change."""
        self._stopping = False
        self._thread: threading.Thread | None = None

    def note(self, connection: sqlite3.Connection, seq: int) -> None:
        """Note a trace as unread, inside the transaction that changes it."""
        connection.execute("DELETE FROM findings WHERE trace_seq = ?", (seq,))
        connection.execute(
            "INSERT INTO unread (trace_seq, project_id) SELECT seq, project_id FROM traces WHERE seq = ?"
            " ON CONFLICT DO UPDATE SET changes = changes + 1",
            (seq,),
        )
        self._database.after_commit(lambda: self._wake(seq))

    def resume(self) -> None:
        """Read the traces that an earlier process left."""
        with self._database.read() as connection:
            left = connection.execute("SELECT trace_seq FROM unread LIMIT 1").fetchone()
        if left is not None:
            self._wake(left["trace_seq"])

    def unread(self, project_id: str, *, most: int) -> int:
        """Read unread traces now, if they are at most `most`; return how many of the project are unread."""
        with self._database.read() as connection:
            (all_unread,) = connection.execute("SELECT COUNT(*) FROM unread").fetchone()
        if all_unread <= most:
            self.read_now()
        with self._database.read() as connection:
            (left,) = connection.execute("SELECT COUNT(*) FROM unread WHERE project_id = ?", (project_id,)).fetchone()
        return int(left)

    def read_now(self) -> None:
        """Read all unread traces now, however recent their changes are."""
        while self._read_some(()):
            pass

    def stop(self, timeout_s: float) -> None:
        """End the thread after its current transaction."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _wake(self, seq: int) -> None:
        with self._changed:
            is_awaited = not self._recent  # else the thread wakes in time by itself
            self._recent[seq] = self._monotonic()
            self._failed.discard(seq)
            if self._thread is None and not self._stopping:
                self._thread = threading.Thread(target=self._work, name="pandaprobe-local-failures", daemon=True)
                self._thread.start()
            if is_awaited:
                self._changed.notify()

    def _work(self) -> None:
        while self._wait():
            begun = self._monotonic()
            while not self._stopping and self._read_some(self._still_changing()):
                with self._changed:  # so that requests get half of the time
                    self._changed.wait(self._monotonic() - begun if self._recent else 0)
                begun = self._monotonic()

    def _wait(self) -> bool:
        """Wait until a trace has been quiet long enough. Return False at the end."""
        with self._changed:
            while not self._stopping:
                oldest = min(self._recent.values(), default=None)
                left_s = None if oldest is None else oldest + QUIET_S - self._monotonic()
                if left_s is not None and left_s <= 0:
                    break
                self._changed.wait(left_s)
            return not self._stopping

    def _still_changing(self) -> list[int]:
        with self._changed:
            quiet = self._monotonic() - QUIET_S
            self._recent = {seq: changed for seq, changed in self._recent.items() if changed > quiet}
            return list(self._recent)

    def _read_some(self, leave: Collection[int]) -> bool:
        """Read some traces. Return False if none is left."""
        left = dumps([*leave, *self._failed]).decode()
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT trace_seq, changes FROM unread WHERE trace_seq NOT IN (SELECT value FROM json_each(?))"
                " ORDER BY trace_seq LIMIT ?",
                (left, AT_ONCE),
            ).fetchall()
            found = {row["trace_seq"]: (row["changes"], self._findings(connection, row["trace_seq"])) for row in rows}
        try:
            with self._database.write() as connection:
                for seq, (changes, findings) in found.items():
                    unchanged = "DELETE FROM unread WHERE trace_seq = ? AND changes = ?"
                    if findings is not None and connection.execute(unchanged, (seq, changes)).rowcount:
                        _keep(connection, seq, findings)
        except Exception:  # noqa: BLE001 - the thread goes on; what is not kept counts as unread
            _log.warning("pandaprobe local: the failures of traces cannot be kept", exc_info=True)
            self._failed.update(found)
        return bool(rows)

    def _findings(self, connection: sqlite3.Connection, seq: int) -> Sequence[Finding] | None:
        try:
            return _findings(connection, seq)
        except Exception:  # noqa: BLE001 - one trace must not keep the others from being read
            _log.warning("pandaprobe local: the failures of trace %s cannot be found", seq, exc_info=True)
            self._failed.add(seq)
            return None


def judge_findings_anew(connection: sqlite3.Connection, trace_id: str) -> None:
    """Find the failures of a trace again whose scores have changed, inside the caller's transaction."""
    row = connection.execute(
        "SELECT seq FROM traces WHERE trace_id = ?"
        " AND NOT EXISTS (SELECT 1 FROM unread WHERE unread.trace_seq = traces.seq)",
        (trace_id,),
    ).fetchone()
    if row is None:
        return  # It is not read yet. Its scores are read with it.
    was_judged = connection.execute(
        "SELECT 1 FROM findings WHERE trace_seq = ? AND kind = ?", (row["seq"], FailureKind.JUDGED)
    ).fetchone()
    if was_judged is not None or _low_scores(connection, trace_id):
        connection.execute("DELETE FROM findings WHERE trace_seq = ?", (row["seq"],))
        _keep(connection, row["seq"], _findings(connection, row["seq"]))


def _findings(connection: sqlite3.Connection, seq: int) -> Sequence[Finding]:
    row = connection.execute(f"SELECT {TRACE_COLUMNS} FROM whole_traces WHERE seq = ?", (seq,)).fetchone()
    spans = [span_record(span, row["trace_id"]) for span in spans_of(connection, seq)]
    record: dict[str, Any] = loads(dumps(trace_record(row, spans)).decode())
    return find_failures(record, _low_scores(connection, row["trace_id"]))


def _keep(connection: sqlite3.Connection, seq: int, found: Sequence[Finding]) -> None:
    row = connection.execute("SELECT project_id, started_at, release FROM traces WHERE seq = ?", (seq,)).fetchone()
    project_id, started_at, release = tuple(row)
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
                *(project_id, seq, one.fingerprint, one.kind, position, one.recovered, started_at, release),
                *(one.span_id, one.text),
            ),
        )


def _low_scores(connection: sqlite3.Connection, trace_id: str) -> list[Mapping[str, Any]]:
    """Return the latest score of each name, if it is low enough to count as a failure."""
    rows = connection.execute(
        "SELECT name, value, data_type, reason FROM trace_scores WHERE trace_id = ? AND status = 'SUCCESS'"
        " ORDER BY created_at, seq",
        (trace_id,),
    ).fetchall()
    latest: dict[str, Mapping[str, Any]] = {row["name"]: dict(row) for row in rows}
    return [score for score in latest.values() if is_low(score["value"])]
