"""Sealed and unsealed traces.

A trace is sealed while its derived data is stored. Any change of a trace first opens its seal in the same transaction,
so that derived data is never outdated. The table `unsealed` has all other traces, with a counter of changes. The
counter prevents the sealing of a trace that changed while it was read.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pandaprobe_otel.local.sealing import compressed_blocks
from pandaprobe_otel.local.sealing.derivation import Derivation
from pandaprobe_otel.local.sealing.derivations import DERIVATIONS, Derived, derive
from pandaprobe_otel.local.sealing.stored_trace import StoredTrace, read_trace
from pandaprobe_otel.local.store.database import Database

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sealable:
    """A trace with its derived data and its block. `changes` is its counter when it was read."""

    trace: StoredTrace
    changes: int
    derived: Derived
    block: bytes


class Seals:
    """The seals of a database's traces."""

    def __init__(self, database: Database, derivations: Sequence[Derivation] = DERIVATIONS) -> None:
        self._database = database
        self.derivations = derivations
        self.on_change: Callable[[Sequence[int]], object] | None = None
        """Called with the numbers of changed traces after the commit."""
        self._rebuild_if_outdated()

    def open(self, connection: sqlite3.Connection, seqs: Iterable[int]) -> None:
        """Delete the derived data of traces that are about to change, inside the caller's transaction."""
        numbers = list(seqs)
        for seq in numbers:
            noted = connection.execute("UPDATE unsealed SET changes = changes + 1 WHERE trace_seq = ?", (seq,)).rowcount
            trace = None if noted else read_trace(connection, seq)
            compressed_blocks.give_back(connection, seq)
            if trace is not None:
                self._forget(connection, trace)
                connection.execute(
                    "INSERT OR IGNORE INTO unsealed (trace_seq, project_id) VALUES (?, ?)", (seq, trace.project_id)
                )
        if self.on_change is not None:
            on_change = self.on_change
            self._database.after_commit(lambda: on_change(numbers))

    def close(self, connection: sqlite3.Connection, traces: Iterable[Sealable]) -> None:
        """Store the derived data and the blocks of those traces that have not changed since they were read."""
        unchanged = "DELETE FROM unsealed WHERE trace_seq = ? AND changes = ?"
        closed = [each for each in traces if connection.execute(unchanged, (each.trace.seq, each.changes)).rowcount]
        for each in closed:
            compressed_blocks.keep(connection, each.trace, each.block)
        for derivation in self.derivations:
            derivation.keep(connection, [(each.trace, each.derived[derivation.name]) for each in closed])

    def open_all(self, connection: sqlite3.Connection) -> None:
        """Delete all derived data, so that it is derived again. Blocks stay, since they are readable like rows."""
        for derivation in self.derivations:
            derivation.clear(connection)
        connection.execute("INSERT OR IGNORE INTO unsealed (trace_seq, project_id) SELECT seq, project_id FROM traces")

    def _forget(self, connection: sqlite3.Connection, trace: StoredTrace) -> None:
        try:
            derived = derive(trace, self.derivations)
        except Exception:  # noqa: BLE001 - a request must not fail for it; deriving everything anew is always right
            _log.warning(
                "pandaprobe local: trace %s cannot be indexed, so all traces are indexed again",
                trace.seq,
                exc_info=True,
            )
            self.open_all(connection)
            return
        for derivation in self.derivations:
            derivation.forget(connection, trace, derived[derivation.name])

    def _rebuild_if_outdated(self) -> None:
        wanted = {derivation.name: derivation.version for derivation in self.derivations}
        with self._database.read() as connection:
            kept = {row["name"]: row["version"] for row in connection.execute("SELECT name, version FROM derivations")}
        if kept == wanted:
            return
        with self._database.write() as connection:
            self.open_all(connection)
            connection.execute("DELETE FROM derivations")
            connection.executemany("INSERT INTO derivations VALUES (?, ?)", wanted.items())
