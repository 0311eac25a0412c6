"""File of the spool: an SQLite database that belongs to one process at a time and is used by one of its threads."""

from __future__ import annotations

import os
import sqlite3
import time
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

from pandaprobe_otel.delivery.job import Found, Place
from pandaprobe_otel.delivery.parcel import Parcel
from pandaprobe_otel.delivery.spool.lock_file import LockFile, TakenOverError, open_plain, refuse_link
from pandaprobe_otel.delivery.spool.log_repair import DRAFT_SUFFIX, LogState, repair_log
from pandaprobe_otel.delivery.spool.rows import (
    JournalChange,
    JournalRow,
    TraceState,
    checksum,
    head_of,
    joined,
    request_head,
    request_of,
)
from pandaprobe_otel.delivery.spool.schema import connect, transaction
from pandaprobe_otel.process.descriptors import Descriptor, descriptors_of

_CLOSED: Final = "the app has closed its descriptors"
_UNREADABLE: Final = (sqlite3.Error, TypeError, ValueError)
_Item = TypeVar("_Item")

LOCK_SUFFIX: Final = ".lock"
DAMAGED_SUFFIX: Final = ".damaged"
_CLOCK_IS_SET: Final = 1_700_000_000.0
"""Earliest plausible time of a wall clock (2023). A clock with an earlier time has not been set since the machine
started.
"""

_REQUEST: Final = """
SELECT in_doubt OR in_memory, step, trace_id, name, is_error, is_remote, crc, fields, body.spans
FROM parcel JOIN body ON body.row = parcel.row WHERE parcel.row = ?
"""
_HEADS: Final = """
SELECT row, size, spans, step, trace_id, name, is_error, is_remote, in_doubt OR in_memory, put_at
FROM parcel WHERE row > ? ORDER BY row
"""


_lost: set[Path] = set()
"""Files with a connection that cannot be used or closed, because the app has closed its descriptors. SQLite believes
that the connection still holds its locks.
"""
_ORDERS: Final = tuple(
    f"{table} ORDER BY row{way}" for table in ("parcel NOT INDEXED", "body") for way in ("", " DESC")
)
"""Orders of reading a file; each touches different pages."""


class SpoolFile:
    """The database and its lock. Methods raise sqlite3.Error and OSError; the caller interprets them."""

    def __init__(self, path: Path, lock: LockFile, number: int) -> None:
        self.path = path
        self.lock = lock
        self.number = number
        self._connection: sqlite3.Connection | None = None
        self._inode: int | None = None
        self._descriptors: list[Descriptor] = []
        self.bytes = 0
        """Bytes that the waiting requests count for, once the file has been opened."""
        self.log_state = LogState.SOUND
        """The state in which the log of a dead process was found when the file was opened."""

    @classmethod
    def create(cls, path: Path, number: int) -> SpoolFile | None:
        """Create an empty file; return None if the name is taken."""
        lock = LockFile.create(lock_path(path))
        if lock is None:
            return None
        try:
            # SQLite gives its log the mode of the database.
            os.close(open_plain(path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
            file = cls(path, lock, number)
            file.open()
        except BaseException:
            with suppress(OSError):
                os.unlink(path)
            lock.remove()
            raise
        return file

    @classmethod
    def take(cls, path: Path, number: int) -> SpoolFile | None:
        """Take the file of a dead process; return None if the process lives."""
        lock = LockFile.take(lock_path(path))
        if lock is None:
            return None
        try:
            refuse_link(path)
        except FileNotFoundError:
            lock.remove()
            return None
        except PermissionError:
            lock.remove()
            raise
        return cls(path, lock, number)

    def open(self) -> sqlite3.Connection:
        """Return the connection; open it if necessary, also if the app has closed its descriptors."""
        if self._connection is not None and not self._is_intact:
            was_busy = self._connection.in_transaction
            self.close()
            if was_busy:
                raise OSError(_CLOSED)
        if self._connection is None:
            if not self.lock.is_held:
                self.lock.hold_again()
                if not self.is_in_place:
                    raise TakenOverError("another process has taken it over")
            if (state := repair_log(self.path)) is not LogState.SOUND:
                self.log_state = state
            self._connection = connect(self.path, locks=self.path not in _lost)
            self._inode = os.stat(self.path).st_ino
            self.bytes = int(self._connection.execute("SELECT total(size) FROM parcel").fetchone()[0])
            self._descriptors = descriptors_of((self.path, Path(f"{self.path}-wal")))
        return self._connection

    @property
    def _is_intact(self) -> bool:
        """True unless the app has closed a descriptor of this file."""
        return self.lock.is_held and all(descriptor.is_intact for descriptor in self._descriptors)

    def close(self) -> None:
        """Close the database. This process still owns the file."""
        connection, self._connection = self._connection, None
        if connection is not None and not self._is_intact:
            _lost.add(self.path)  # closing it would write to files of the app
        elif connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def abandon(self) -> None:
        """Release the lock in a forked child, and drop the connection, which must never be used or closed there."""
        self.lock.close()
        self._connection = None

    def release(self) -> None:
        """Close the file and let other processes take it."""
        self.close()
        self.lock.close()

    def remove(self) -> None:
        """Delete the file and its lock."""
        self.close()
        for name in (f"{self.path}-wal{DRAFT_SUFFIX}", f"{self.path}-wal", f"{self.path}-shm", str(self.path)):
            with suppress(OSError):
                os.unlink(name)
        self.lock.remove()

    def move_aside(self) -> None:
        """Rename the file, so that no process takes it again. Its readable content is saved elsewhere."""
        self.close()
        for name in (f"{self.path}-wal", str(self.path)):
            with suppress(OSError):
                os.replace(name, f"{name}{DAMAGED_SUFFIX}")
        self.remove()

    @property
    def is_in_place(self) -> bool:
        """True if the file still has its name; somebody may have deleted it."""
        try:
            return self._inode is None or os.stat(self.path).st_ino == self._inode
        except OSError:
            return False

    @property
    def bytes_on_disk(self) -> int:
        """Size of the database in bytes."""
        try:
            return os.stat(self.path).st_size
        except OSError:
            return 0

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Run a block in a transaction."""
        try:
            with transaction(self.open()):
                yield
        except sqlite3.Error as error:
            if self._is_intact:
                raise
            raise OSError(_CLOSED) from error

    # -- requests ------------------------------------------------------------------------------------------------------

    def insert(self, row: int, request: Parcel, *, in_doubt: bool = False) -> None:
        """Insert a request under an unused row number."""
        spans = joined(request.spans)
        db = self.open()
        db.execute(
            "INSERT INTO parcel VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row,
                request.line,
                *head_of(request),
                len(request.spans),
                request.size,
                time.time(),
                False,
                in_doubt,
                checksum(request, spans),
            ),
        )
        db.execute("INSERT INTO body VALUES (?, ?, ?)", (row, request.fields, spans))
        self.bytes += request.size

    def delete(self, places: Iterable[Place]) -> None:
        """Delete requests. Missing requests are not an error."""
        db = self.open()
        for place in places:
            if db.execute("DELETE FROM parcel WHERE row = ?", (place.row,)).rowcount:
                self.bytes -= place.size
                db.execute("DELETE FROM body WHERE row = ?", (place.row,))

    def rewrite(self, place: Place, request: Parcel) -> None:
        """Replace the content of a place."""
        self.delete([place])
        self.insert(place.row, request)

    def mark_started(self, places: Iterable[Place]) -> None:
        """Note that requests are about to be sent."""
        self.open().executemany("UPDATE parcel SET in_doubt = 1 WHERE row = ?", [(place.row,) for place in places])

    def count(self) -> tuple[int, int]:
        """Return the numbers of waiting requests and of their spans."""
        requests, spans = self.open().execute("SELECT count(*), total(spans) FROM parcel").fetchone()
        return int(requests), int(spans)

    def is_empty(self) -> bool:
        """Return whether the file has neither requests nor incomplete traces."""
        return not self.count()[0] and not self.has_journal()

    def last_row(self) -> int:
        """Return the highest row number in use; 0 if there is none."""
        found = self.open().execute("SELECT max(row) FROM parcel").fetchone()[0]
        return found if isinstance(found, int) else 0

    def found(self, now: float, *, after: int = 0) -> list[Found]:
        """Return the requests in rows after `after`, without their content. `now`: wall-clock seconds."""
        return [self._found(row, now) for row in self.open().execute(_HEADS, (after,))]

    def delete_unreadable(self) -> int:
        """Delete the unreadable rows; return the number of their spans."""
        rows = [row for row in self.open().execute(_HEADS, (0,)) if request_head(row[3:8]) is None]
        self.delete(Place(self.number, row[0], int(row[1]), 0) for row in rows)
        return sum(int(row[2]) for row in rows)

    def _found(self, row: tuple[Any, ...], now: float) -> Found:
        request = request_head(row[3:8])
        assert request is not None
        written_at = float(row[9])
        return Found(
            place=Place(self.number, int(row[0]), int(row[1]), int(row[2])),
            request=replace(request, is_bare=True, closed_spans=int(row[2])),
            in_doubt=bool(row[8]),
            waited_s=max(now - written_at, 0.0) if written_at >= _CLOCK_IS_SET else 0.0,
        )

    def request(self, row: int) -> tuple[Parcel, bool] | None:
        """Return one request, and whether a dead process may have sent it; None if it is missing or damaged."""
        found = self.open().execute(_REQUEST, (row,)).fetchone()
        if found is None or (request := request_of(found[1:])) is None:
            return None
        return request, bool(found[0])

    def row_numbers(self, order: str) -> Iterator[int]:
        """Yield the numbers of all rows. `order`: one of `_ORDERS`."""
        for (row,) in self.open().execute(f"SELECT row FROM {order}"):
            yield int(row)

    # -- the journal of open traces -----------------------------------------------------------------------------------

    def change_journal(self, change: JournalChange) -> None:
        """Store spans of incomplete traces (an ended span replaces the open one), or clear a trace."""
        db = self.open()
        if change.cleared is not None:
            kept = f"span_id IN ({', '.join('?' * len(change.open_roots))})"
            query = f"DELETE FROM journal WHERE trace_id = ? AND NOT (is_open AND {kept})"
            db.execute(query, (change.cleared, *change.open_roots))
            db.execute("DELETE FROM open_trace WHERE trace_id = ?", (change.cleared,))
        db.executemany(
            "INSERT OR REPLACE INTO journal (trace_id, span_id, is_open, data, crc) VALUES (?, ?, ?, ?, ?)",
            [(row.trace_id, row.span_id, row.is_open, row.data, zlib.crc32(row.data)) for row in change.rows],
        )
        db.executemany(
            "INSERT OR REPLACE INTO open_trace VALUES (?, ?)",
            [(state.trace_id, state.encoded()) for state in change.states],
        )

    def journal(self) -> Iterator[JournalRow | None]:
        """Yield all spans by trace; None for a damaged one."""
        query = "SELECT trace_id, span_id, is_open, data, crc FROM journal ORDER BY trace_id, number"
        for row in self.open().execute(query):
            yield _journal_row(row)

    def states(self) -> list[TraceState]:
        """Return the state of each incomplete trace."""
        states: list[TraceState] = []
        for trace_id, text in self.open().execute("SELECT trace_id, state FROM open_trace"):
            with suppress(ValueError):
                states.append(TraceState.decoded(str(trace_id), str(text)))
        return states

    def forget_journal(self) -> None:
        """Delete the whole journal."""
        self.open().execute("DELETE FROM journal")
        self.open().execute("DELETE FROM open_trace")

    def has_journal(self) -> bool:
        """Return whether the journal has an incomplete trace."""
        query = "SELECT EXISTS (SELECT 1 FROM journal) OR EXISTS (SELECT 1 FROM open_trace)"
        return bool(self.open().execute(query).fetchone()[0])

    def is_sound(self) -> bool:
        """Return whether the structure of the whole file is intact. Reads the whole file."""
        return bool(self.open().execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")


def _journal_row(row: tuple[Any, ...]) -> JournalRow | None:
    trace_id, span_id, is_open, data, crc = row
    if not isinstance(data, bytes) or zlib.crc32(data) != crc:
        return None
    return JournalRow(trace_id=str(trace_id), span_id=str(span_id), is_open=bool(is_open), data=data)


def lock_path(path: Path) -> Path:
    """Return the lock file of a database."""
    return path.with_name(path.name + LOCK_SUFFIX)


def readable_requests(file: SpoolFile) -> Iterator[tuple[int, Parcel, bool]]:
    """Yield the row and content of each intact request, oldest first, and whether a dead process may have sent it.

    Row numbers are read from the two tables, which are separate trees. Each is read from both ends, up to the first
    damaged page. Then each row is looked up by itself.
    """
    rows: set[int] = set()
    for order in _ORDERS:
        rows.update(_until_damage(file.row_numbers(order)))
    for row in sorted(rows):
        try:
            found = file.request(row)
        except _UNREADABLE:
            continue
        if found is not None:
            yield row, *found


def readable_journal(file: SpoolFile) -> list[JournalRow]:
    """Return the intact spans of a file, up to the first damaged page."""
    return [row for row in _until_damage(file.journal()) if row is not None]


def _until_damage(items: Iterable[_Item]) -> Iterator[_Item]:
    try:
        yield from items
    except _UNREADABLE:
        return
