"""Refused requests with the server's words, kept for inspection, or for sending again after a change.

The whole directory has one file. It is opened under a lock for each use and closed again, so that the command line can
read it while services run.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pandaprobe_otel.delivery.parcel import Parcel
from pandaprobe_otel.delivery.spool.destination import Destination
from pandaprobe_otel.delivery.spool.lock_file import LockFile, open_plain
from pandaprobe_otel.delivery.spool.rows import checksum, head_of, joined, request_of
from pandaprobe_otel.delivery.spool.schema import is_damage, set_up, transaction
from pandaprobe_otel.delivery.spool.spool_file import DAMAGED_SUFFIX, lock_path

NAME: Final = "dead-letters.db"
MAX_BYTES: Final = 16 << 20
_LOCK_TRIES: Final = 100
_LOCK_PAUSE_S: Final = 0.01

_TABLE: Final = """
PRAGMA auto_vacuum = FULL;
CREATE TABLE letter (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    digest TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    project TEXT NOT NULL,
    words TEXT NOT NULL,
    size INTEGER NOT NULL,
    step TEXT NOT NULL,
    trace_id TEXT NOT NULL,
    name BLOB NOT NULL,
    is_error INTEGER NOT NULL,
    is_remote INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    fields BLOB NOT NULL,
    spans BLOB NOT NULL
);
"""
_LETTER: Final = """
SELECT number, at, digest, endpoint, project, words, step, trace_id, name, is_error, is_remote, crc, fields, spans
FROM letter
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """Refused request. `at` is in seconds since the epoch; `request` is None if it was damaged on disk."""

    number: int
    at: float
    digest: str
    endpoint: str
    project: str
    words: str
    request: Parcel | None


class DeadLetters:
    """Refused requests of a directory. Beyond the bound, the oldest are deleted."""

    def __init__(self, folder: Path, destination: Destination | None = None, *, max_bytes: int = MAX_BYTES) -> None:
        self._path = folder / NAME
        self._destination = destination
        self._max_bytes = max_bytes

    def add(self, request: Parcel, words: str, on_trouble: Callable[[Exception], None]) -> None:
        """Keep a refused request. Never raises: `on_trouble` gets the failure, and the request is lost."""
        try:
            self._add(request, words)
        except (sqlite3.Error, OSError) as error:
            on_trouble(error)

    def all(self) -> list[Letter]:
        """Return all refused requests, oldest first. Raises sqlite3.Error and OSError."""
        if not self._path.exists():
            return []
        with self._opened() as db:
            return [_letter(row) for row in db.execute(_LETTER + "ORDER BY number")]

    def remove(self, numbers: Iterable[int]) -> None:
        """Delete refused requests. Raises sqlite3.Error and OSError."""
        with self._opened() as db:
            db.executemany("DELETE FROM letter WHERE number = ?", [(number,) for number in numbers])

    def _add(self, request: Parcel, words: str) -> None:
        destination = self._destination
        if destination is None:
            raise OSError("a refused request needs a destination")
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        spans = joined(request.spans)
        row = (
            time.time(),
            destination.digest,
            destination.endpoint,
            destination.project,
            words.encode("utf-8", "replace").decode(),
            request.size,
            *head_of(request),
            checksum(request, spans),
            request.fields,
            spans,
        )
        with self._opened() as db:
            db.execute(f"INSERT INTO letter VALUES (NULL{', ?' * len(row)})", row)
            total = db.execute("SELECT total(size) FROM letter").fetchone()[0]
            while total > self._max_bytes:
                oldest = db.execute("SELECT number, size FROM letter ORDER BY number LIMIT 1").fetchone()
                db.execute("DELETE FROM letter WHERE number = ?", (oldest[0],))
                total -= oldest[1]

    @contextmanager
    def _opened(self) -> Generator[sqlite3.Connection]:
        """Open the database in a transaction, locked against other processes. A damaged database is renamed."""
        with _locked(lock_path(self._path)):
            try:
                if not self._path.exists():
                    os.close(open_plain(self._path, os.O_RDWR | os.O_CREAT))
                with closing(sqlite3.connect(self._path, isolation_level=None, timeout=1.0)) as db:
                    set_up(db, self._path, _TABLE)
                    with transaction(db):
                        yield db
            except sqlite3.Error as error:
                if is_damage(error):
                    with suppress(OSError):
                        os.replace(self._path, f"{self._path}{DAMAGED_SUFFIX}")
                raise


@contextmanager
def _locked(path: Path) -> Generator[None]:
    for _ in range(_LOCK_TRIES):
        lock = LockFile.take(path)
        if lock is not None:
            break
        time.sleep(_LOCK_PAUSE_S)
    else:
        raise OSError(f"{path.name} is in use by another process")
    try:
        yield
    finally:
        lock.close()


def _letter(row: tuple[Any, ...]) -> Letter:
    number, at, digest, endpoint, project, words, *request = row
    return Letter(
        number=int(number),
        at=at if isinstance(at, float) else 0.0,  # damaged
        digest=str(digest),
        endpoint=str(endpoint),
        project=str(project),
        words=str(words),
        request=request_of(tuple(request)),
    )
