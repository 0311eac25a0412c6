"""One SQLite database with one writer connection, and one reader connection per concurrent request.

A committed request survives a killed process (write-ahead log, `synchronous=NORMAL`). A power failure may lose the last
moments. A file belongs to one process at a time. A second process gets an error, since its caches would become
outdated.
"""

from __future__ import annotations

import os
import queue
import sqlite3
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import orjson

from pandaprobe_otel.errors import PandaProbeError
from pandaprobe_otel.local.settings import MEMORY
from pandaprobe_otel.local.store.blocks import searchable
from pandaprobe_otel.local.store.schema import create_schema
from pandaprobe_otel.local.times import iso_or_none

AT_ONCE = 5
"""Traces that a transaction derives or deletes, since requests wait for it. The words of a trace take milliseconds."""


def percentile(numbers: str, share: float) -> float | None:
    """Return a percentile of a JSON list, interpolated between neighbours. Nulls do not count; None without numbers."""
    ordered = sorted(number for number in orjson.loads(numbers) if number is not None)
    if not ordered:
        return None
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    result: float = ordered[below] + (ordered[above] - ordered[below]) * (position - below)
    return result


_FUNCTIONS: Final = (("searchable", 1, searchable), ("iso", 1, iso_or_none), ("percentile", 2, percentile))
"""Functions of statements and triggers: name, number of arguments, function."""


class DatabaseInUseError(PandaProbeError):
    """Another process serves this database file."""


class Database:
    """Connections of one database. `path` is a file or `:memory:`."""

    def __init__(self, path: str | os.PathLike[str] = MEMORY) -> None:
        self.in_memory = os.fspath(path) == MEMORY
        self.path = MEMORY if self.in_memory else os.path.abspath(path)  # the app may change its directory
        self._lock = threading.RLock()
        self._readers: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._guard = None if self.in_memory else _FileGuard(Path(self.path))
        self._closed = False
        self._commits = 0
        self._opened = time.time_ns()
        try:
            self._writer = self._connect()
            create_schema(self._writer)
        except BaseException:
            self._release()
            raise

    @contextmanager
    def write(self) -> Generator[sqlite3.Connection]:
        """Yield the writer connection for one transaction, which is committed at the end or rolled back on an
        exception.
        """
        with self._lock:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:  # SQLite itself ends a transaction if the disk is full.
                    self._writer.execute("ROLLBACK")
                raise
            self._commits += 1

    @property
    def state(self) -> str:
        """A text that differs after every change, including changes by later processes."""
        return f"{self._opened:x}.{self._commits}"

    @contextmanager
    def read(self) -> Generator[sqlite3.Connection]:
        """Yield a connection that reads one consistent state."""
        if self.in_memory:
            # A private in-memory database exists only in its own connection.
            with self._lock:
                yield self._writer
            return
        try:
            connection = self._readers.get_nowait()
        except queue.Empty:
            connection = self._connect()
        try:
            connection.execute("BEGIN")
            yield connection
        finally:
            connection.execute("ROLLBACK")
            self._readers.put(connection)

    def close(self) -> None:
        """Close every connection and unlock the file. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            while not self._readers.empty():
                self._readers.get_nowait().close()
            self._writer.close()
            self._release()

    def _release(self) -> None:
        if self._guard is not None:
            self._guard.release()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, cached_statements=512)
        connection.row_factory = sqlite3.Row
        for name, arguments, function in _FUNCTIONS:
            connection.create_function(name, arguments, function, deterministic=True)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA trusted_schema = ON")  # Triggers call a function of this library.
        if not self.in_memory:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA busy_timeout = 5000")
            # The writer that fills the log waits until it is copied. With the default of 1,000 pages (4 MB), this
            # happens to one in ninety traces of 20 spans, and thus determines the 99th percentile.
            connection.execute("PRAGMA wal_autocheckpoint = 4000")
        # With the default of 2 MB, random span ids miss the cache from about 10,000 traces on.
        connection.execute("PRAGMA cache_size = -65536")
        return connection


class _FileGuard:
    """Advisory lock beside the file. The operating system releases it when the process ends in any way."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self._path, "a+b")  # noqa: SIM115 - held as long as the database is open
        try:
            _lock(self._file.fileno())
        except OSError:
            self._file.close()
            raise DatabaseInUseError(
                f"{path} is served by another process: stop it, or choose another file with --db."
            ) from None

    def release(self) -> None:
        """Unlock the file. The lock file stays, since deleting it would let two processes lock two different files."""
        self._file.close()


if os.name == "nt":  # pragma: no cover - the tests run on POSIX

    def _lock(fileno: int) -> None:
        import msvcrt

        msvcrt.locking(fileno, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]

else:

    def _lock(fileno: int) -> None:
        import fcntl

        fcntl.flock(fileno, fcntl.LOCK_EX | fcntl.LOCK_NB)
