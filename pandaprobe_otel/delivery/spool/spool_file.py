"""File of the spool: an SQLite database that belongs to one process at a time and is used by one of its threads.

SQLite's write-ahead log keeps every whole transaction of a process that is killed. Nothing is rescued from a damaged
file: it is renamed.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, cast

from pandaprobe_otel.config.parsers import is_project_name
from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.spool.drafts import Draft, requests_of
from pandaprobe_otel.delivery.spool.lock_file import LockFile, TakenOverError, open_plain, refuse_link
from pandaprobe_otel.mapping.encoded_spans import NO_SPANS, EncodedSpans
from pandaprobe_otel.process.background import Descriptor, descriptors_of
from pandaprobe_otel.transport.outcome import json_object

LOCK_SUFFIX: Final = ".lock"
DAMAGED_SUFFIX: Final = ".damaged"
VERSION: Final = 1
_CLOSED: Final = "the app has closed its descriptors"
_CLOCK_IS_SET: Final = 1_700_000_000.0
"""Earliest plausible time of a wall clock (2023). A clock with an earlier time has not been set since the machine
started.
"""
_LARGEST_LOG: Final = 4 << 20
MOST_TAKEN: Final = 1000
LARGEST_BATCH: Final = 8 << 20
"""Bounds on the parcels, and their bytes, that are moved to another file at a time."""
_BETWEEN_SPANS: Final = b"\n"
"""Separator of spans: JSON without white space contains no line break."""
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_ERROR})
"""SQLite's codes for a broken file. SQLITE_ERROR: a table is missing or has other columns."""

# Bodies have a table of their own, so that counting and choosing requests does not read them.
_TABLES: Final = f"""
BEGIN;
CREATE TABLE parcel (
    row INTEGER PRIMARY KEY,
    step TEXT NOT NULL,
    trace_id TEXT NOT NULL,
    name BLOB NOT NULL,
    project TEXT NOT NULL,
    is_error INTEGER NOT NULL,
    is_remote INTEGER NOT NULL,
    spans INTEGER NOT NULL,
    size INTEGER NOT NULL,
    put_at REAL NOT NULL,
    in_doubt INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    draft INTEGER NOT NULL
);
CREATE TABLE body (row INTEGER PRIMARY KEY, fields BLOB NOT NULL, spans BLOB NOT NULL);
CREATE INDEX draft ON parcel (trace_id) WHERE draft > 0;
CREATE TRIGGER gone AFTER DELETE ON parcel BEGIN DELETE FROM body WHERE row = old.row; END;
PRAGMA user_version = {VERSION};
COMMIT;
"""
_HEADS: Final = """
SELECT draft, row, step, trace_id, name, project, is_error, is_remote, spans, size, put_at, in_doubt
FROM parcel WHERE draft > 0 = ? ORDER BY row LIMIT ?
"""
_CONTENT: Final = """
SELECT crc, fields, body.spans, step, trace_id, name, project, is_error, is_remote
FROM parcel JOIN body USING (row) WHERE row = ?
"""
_ENDED: Final = 1
_OPEN: Final = 2
"""Values of `draft` for the parcels of a trace that had ended when they were written, and of an open one."""

_lost: set[Path] = set()
"""Files with a connection that cannot be used or closed, because the app has closed its descriptors. SQLite believes
that the connection still holds its locks.
"""


class SpoolFile:
    """The database and its lock. Methods raise sqlite3.Error and OSError; the caller interprets them."""

    def __init__(self, path: Path, lock: LockFile) -> None:
        self.path = path
        self.lock = lock
        self._connection: sqlite3.Connection | None = None
        self._inode: int | None = None
        self._descriptors: list[Descriptor] = []
        self._last_taken = 0
        self.bytes = 0
        """Bytes that the waiting requests count for, once the file has been opened."""

    @classmethod
    def create(cls, path: Path, copied: SpoolFile | None = None) -> SpoolFile | None:
        """Create a file, empty or as a copy of another one; return None if the name is taken."""
        lock = LockFile.create(lock_path(path))
        if lock is None:
            return None
        try:
            # SQLite gives its log the mode of the database.
            os.close(open_plain(path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
            if copied is not None:
                copied.open().execute("VACUUM INTO ?", (str(path),))
            file = cls(path, lock)
            file.open()
        except BaseException:
            with suppress(OSError):
                os.unlink(path)
            lock.remove()
            raise
        return file

    @classmethod
    def take(cls, path: Path) -> SpoolFile | None:
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
        return cls(path, lock)

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
            self._connection = _connect(self.path, locks=self.path not in _lost)
            self._inode = os.stat(self.path).st_ino
            self.bytes = int(self._connection.execute("SELECT total(size) FROM parcel WHERE draft = 0").fetchone()[0])
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
        if self._connection is not None and self._is_intact:
            with suppress(sqlite3.Error):
                self._connection.execute("PRAGMA synchronous = OFF")  # it need not be complete on the disk
        self.close()
        for name in (f"{self.path}-wal", f"{self.path}-shm", str(self.path)):
            with suppress(OSError):
                os.unlink(name)
        self.lock.remove()

    def move_aside(self) -> None:
        """Rename the file, so that no process takes it again."""
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
    def transaction(self) -> Generator[sqlite3.Connection]:
        """Run a block in a transaction."""
        try:
            with self.open() as db:
                db.execute("BEGIN IMMEDIATE")
                yield db
        except sqlite3.Error as error:
            if self._is_intact:
                raise
            raise OSError(_CLOSED) from error

    # -- requests ------------------------------------------------------------------------------------------------------

    def insert(self, parcel: Parcel, put_at: float, *, draft: int = 0) -> int:
        """Insert a parcel that came at this wall time, or replace the one of its row; return its row."""
        spans = _BETWEEN_SPANS.join(parcel.spans)
        name = parcel.name.encode("utf-8", "surrogatepass")
        head = (parcel.step.value, parcel.trace_id, name, parcel.project, int(parcel.is_error), int(parcel.is_remote))
        may_have_arrived = parcel.step is Step.CREATE and (parcel.in_flight or parcel.in_doubt)
        crc = _checksum(head, parcel.fields, spans)
        values = (parcel.row or None, *head, len(parcel.spans), parcel.size, put_at, may_have_arrived, crc, draft)
        db = self.open()
        row = db.execute("INSERT INTO parcel VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values).lastrowid
        assert row is not None
        db.execute("INSERT INTO body VALUES (?, ?, ?)", (row, parcel.fields, spans))
        self.bytes += 0 if draft else parcel.size
        return row

    def write(self, parcel: Parcel, put_at: float) -> tuple[int, int]:
        """Write a parcel that is new, has other content, is gone, or is about to be sent. Return its row and size."""
        if parcel.row and not (parcel.is_rewritten or parcel.line is None):
            self.open().execute("UPDATE parcel SET in_doubt = 1 WHERE row = ?", (parcel.row,))
            return parcel.row, parcel.stored
        if parcel.row and self.open().execute("DELETE FROM parcel WHERE row = ?", (parcel.row,)).rowcount:
            self.bytes -= parcel.stored
        return (0, 0) if parcel.row and parcel.line is None else (self.insert(parcel, put_at), parcel.size)

    def count(self) -> tuple[int, int]:
        """Return the numbers of waiting requests and of their spans."""
        requests, spans = self.open().execute("SELECT count(*), total(spans) FROM parcel WHERE draft = 0").fetchone()
        return int(requests), int(spans)

    @property
    def is_empty(self) -> bool:
        """True if the file has neither requests nor drafts."""
        return not self.open().execute("SELECT EXISTS (SELECT 1 FROM parcel)").fetchone()[0]

    def found(self, now: float, *, wall: float, most: int = -1) -> list[Parcel]:
        """Return parcels without their content, in order; all if `most` is negative.

        `now` and `wall`: seconds of the monotonic and of the wall clock. `in_doubt`: the request may have been sent.
        """
        return [_found(row, now, wall) for _, *row in self.open().execute(_HEADS, (0, most)).fetchall()]

    def content(self, row: int) -> tuple[bytes, EncodedSpans]:
        """Return the fields and spans of a parcel. Raises sqlite3.DatabaseError if they are missing or damaged."""
        found: Any = self.open().execute(_CONTENT, (row,)).fetchone()
        match found:
            case (crc, bytes(fields), bytes(spans), *head) if crc == _checksum(tuple(head), fields, spans):
                return fields, EncodedSpans.of(spans.split(_BETWEEN_SPANS)) if spans else NO_SPANS
            case _:
                raise sqlite3.DatabaseError("a request is missing or damaged")

    def take_batch(self, now: float, *, wall: float) -> list[Parcel]:
        """Return the first parcels with their content, for another file to write them; then call `drop_batch`.

        If this process dies between the two, both files have them, here in doubt.
        """
        taken, size = list[Parcel](), 0
        for parcel in self.found(now, wall=wall, most=MOST_TAKEN):
            size += parcel.stored
            if size > LARGEST_BATCH and taken:
                break
            parcel.take_content(*self.content(parcel.row))
            taken.append(parcel)
        with self.transaction() as db:
            db.execute("UPDATE parcel SET in_doubt = 1 WHERE row <= ?", (taken[-1].row,))
        self._last_taken = taken[-1].row
        for parcel in taken:
            parcel.row = 0
        return taken

    def drop_batch(self) -> None:
        """Delete the parcels that another file has now."""
        with self.transaction() as db:
            db.execute("DELETE FROM parcel WHERE row <= ?", (self._last_taken,))

    # -- drafts of open traces ----------------------------------------------------------------------------------------

    def change_draft(self, draft: Draft, put_at: float) -> None:
        """Store further parcels of a draft, or drop those that it replaces. They count for nothing here."""
        db, state = self.open(), _OPEN if draft.is_open else _ENDED
        if draft.replaces:
            db.execute("DELETE FROM parcel WHERE trace_id = ? AND draft > 0", (draft.trace_id,))
        query = "UPDATE parcel SET draft = ? WHERE trace_id = ? AND draft > 0 AND draft <> ?"
        db.execute(query, (state, draft.trace_id, state))
        for parcel in draft.parcels:
            self.insert(parcel, put_at, draft=state)

    def turn_drafts(self, put_at: float) -> None:
        """Replace all drafts by the requests that deliver them. Damaged drafts are left out."""
        drafts: dict[str, tuple[list[Parcel], bool]] = {}
        with self.transaction() as db:
            for draft, *row in db.execute(_HEADS, (1, -1)).fetchall():
                with suppress(sqlite3.DatabaseError):
                    parcel = _found(row, 0.0, 0.0)
                    parcel.take_content(*self.content(parcel.row))
                    drafts.setdefault(parcel.trace_id, ([], draft == _OPEN))[0].append(parcel)
            for drafted, is_open in drafts.values():
                for parcel in requests_of(drafted, is_open=is_open):
                    parcel.in_doubt = True
                    self.insert(parcel, put_at)
            db.execute("DELETE FROM parcel WHERE draft > 0")


def _found(row: list[Any], now: float, wall: float) -> Parcel:
    number, step, trace_id, name, project, is_error, is_remote, spans, size, put_at, in_doubt = row
    try:
        parcel = Parcel(
            step=Step(step),
            trace_id=trace_id,
            name=name.decode("utf-8", "surrogatepass"),
            project=project,
            is_error=bool(is_error),
            is_remote=bool(is_remote),
        )
        parcel.drop_content()
        if not (
            isinstance(trace_id, str)
            and (not project or is_project_name(project))
            and isinstance(spans, int)
            and isinstance(size, int)
            and put_at >= 0.0
        ):
            raise ValueError
    except (AttributeError, TypeError, ValueError) as error:
        raise sqlite3.DatabaseError("a request is damaged") from error
    parcel.row, parcel.stored, parcel.span_count, parcel.in_doubt = number, size, spans, bool(in_doubt)
    parcel.since = now - (max(wall - put_at, 0.0) if put_at >= _CLOCK_IS_SET else 0.0)
    return parcel


def noted(path: Path) -> dict[str, Any]:
    """Return the note of a file's owner about itself and the file's content, at most five seconds old."""
    try:
        return json_object(lock_path(path).read_bytes())
    except OSError:
        return {}


def age(path: Path) -> float:
    """Return the time of a file's last change, by which the oldest file comes first; 0 if it is gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def lock_path(path: Path) -> Path:
    """Return the lock file of a database."""
    return path.with_name(path.name + LOCK_SUFFIX)


def is_damage(error: Exception) -> bool:
    """Return whether the error means broken content, rather than a file that cannot be reached or written."""
    if isinstance(error, sqlite3.NotSupportedError) or not isinstance(error, sqlite3.Error):
        return False
    code = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF in _DAMAGE


def _connect(path: Path, *, locks: bool = True) -> sqlite3.Connection:
    """Open the database, and create its tables if necessary. Raises sqlite3.Error.

    The exclusive locking mode keeps the index of the log in memory instead of in a mapped file: only one process owns
    the database, and truncating a mapped file would kill the app.

    `locks=False`: without SQLite's own locks, which a connection that this process has lost holds for ever.
    """
    refuse_link(path)
    address = str(path) if locks else f"{path.absolute().as_uri()}?vfs=unix-none"
    db = sqlite3.connect(address, uri=not locks, isolation_level=None, check_same_thread=False, timeout=1.0)
    try:
        # SQLite refers to the connection until `close`. Otherwise Python would close one that is only dropped, after a
        # fork or after the app has closed its descriptors, and write to files that it does not own any more.
        db.create_function("itself", 0, cast("Any", db))
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, VERSION):
            raise sqlite3.NotSupportedError(f"has version {version}; this library writes version {VERSION}")
        if not version:
            db.executescript(_TABLES)
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA journal_size_limit = {_LARGEST_LOG}")
        db.execute("PRAGMA cell_size_check = ON")
    except BaseException:
        db.close()
        raise
    return db


def _checksum(head: tuple[Any, ...], fields: bytes, spans: bytes) -> int:
    return zlib.crc32(spans, zlib.crc32(fields, zlib.crc32(repr(head).encode("utf-8", "backslashreplace"))))
