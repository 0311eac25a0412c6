"""Sealed and unsealed traces.

A trace is sealed while what is derived from it is kept. Whoever changes a trace opens its seal first, in the same
transaction, so that what is kept never tells of an older state. The table `unsealed` has the others, with a counter of
changes, so that a trace that changes while it is read is not sealed.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence

from pandaprobe_otel.local.sealing import compressed_blocks
from pandaprobe_otel.local.sealing.derivation import Derivation
from pandaprobe_otel.local.sealing.derivations import DERIVATIONS, Derived, derive
from pandaprobe_otel.local.sealing.stored_trace import StoredTrace, read_trace
from pandaprobe_otel.local.store.database import Database

_log = logging.getLogger(__name__)


class Seals:
    """The seals of a database's traces."""

    def __init__(self, database: Database, derivations: Sequence[Derivation] = DERIVATIONS) -> None:
        self._database = database
        self.derivations = derivations
        self.on_change: Callable[[Sequence[int]], object] | None = None
        """Called with the numbers of traces once a change of them is committed."""
        self._rebuild_if_outdated()

    def open(self, connection: sqlite3.Connection, seqs: Iterable[int]) -> None:
        """Forget what was derived from traces that are about to change, inside the caller's transaction."""
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

    def close(
        self, connection: sqlite3.Connection, trace: StoredTrace, derived: Derived, block: bytes, *, changes: int
    ) -> bool:
        """Keep what was derived from a trace, and its block; return False if it has changed since it was read."""
        unchanged = "DELETE FROM unsealed WHERE trace_seq = ? AND changes = ?"
        if not connection.execute(unchanged, (trace.seq, changes)).rowcount:
            return False
        compressed_blocks.keep(connection, trace, block)
        for derivation in self.derivations:
            derivation.keep(connection, trace, derived[derivation.name])
        return True

    def open_all(self, connection: sqlite3.Connection) -> None:
        """Forget everything, so that all is derived anew. Blocks stay: they are read as the rows are."""
        for derivation in self.derivations:
            derivation.clear(connection)
        connection.execute("INSERT OR IGNORE INTO unsealed (trace_seq, project_id) SELECT seq, project_id FROM traces")

    def _forget(self, connection: sqlite3.Connection, trace: StoredTrace) -> None:
        try:
            derived = derive(trace, self.derivations)
        except Exception:  # noqa: BLE001 - a request must not fail for it; deriving everything anew is always right
            _log.warning("pandaprobe local: trace %s is indexed anew, with all others", trace.seq, exc_info=True)
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
