"""Tables of a spool file, and the setup of its connection."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from pandaprobe_otel.delivery.spool.log_repair import PAGE_SIZE

VERSION: Final = 1

# Bodies have a separate table, so that counting and choosing requests does not read them.
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS parcel (
    row INTEGER PRIMARY KEY,
    line TEXT NOT NULL,
    step TEXT NOT NULL,
    trace_id TEXT NOT NULL,
    name BLOB NOT NULL,
    is_error INTEGER NOT NULL,
    is_remote INTEGER NOT NULL,
    spans INTEGER NOT NULL,
    size INTEGER NOT NULL,
    put_at REAL NOT NULL,
    in_memory INTEGER NOT NULL,
    in_doubt INTEGER NOT NULL,
    crc INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS body (row INTEGER PRIMARY KEY, fields BLOB NOT NULL, spans BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS journal (
    number INTEGER PRIMARY KEY,
    trace_id TEXT NOT NULL,
    span_id TEXT NOT NULL,
    is_open INTEGER NOT NULL,
    data BLOB NOT NULL,
    crc INTEGER NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS journal_by_span ON journal (trace_id, span_id);
CREATE TABLE IF NOT EXISTS open_trace (trace_id TEXT PRIMARY KEY, state TEXT NOT NULL);
"""
_LARGEST_LOG: Final = 4 << 20

_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
_WRONG_TABLES: Final = sqlite3.SQLITE_ERROR
"""Error code of a missing table or column: the damaged bit is in its name."""


def connect(path: Path) -> sqlite3.Connection:
    """Open the database, and create its tables if necessary. Raises sqlite3.Error.

    The exclusive locking mode keeps the index of the log in memory instead of in a mapped file: only one process owns
    the database, and truncating a mapped file would kill the app.
    """
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1.0)
    try:
        db.text_factory = _text
        db.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA journal_size_limit = {_LARGEST_LOG}")
        db.execute("PRAGMA cell_size_check = ON")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, VERSION):
            raise sqlite3.NotSupportedError(f"has version {version}, but this library writes version {VERSION}")
        if version == 0:
            db.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
    except BaseException:
        db.close()
        raise
    return db


def is_damage(error: Exception, *, is_adopted: bool = False) -> bool:
    """Return whether the error means damaged content, not a file that cannot be reached or written.

    `is_adopted`: another process has written the file, so wrong tables are damage and not an error of this library.
    """
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(error, sqlite3.NotSupportedError):
        return False
    if code is None:
        return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
    return code & 0xFF in _DAMAGE or (is_adopted and code == _WRONG_TABLES)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")  # damaged text must be readable, so that it can be recognized
