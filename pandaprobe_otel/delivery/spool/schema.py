"""Tables of a spool file, and the setup of its connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

from pandaprobe_otel.delivery.spool.lock_file import refuse_link
from pandaprobe_otel.delivery.spool.log_repair import PAGE_SIZE

VERSION: Final = 1

# Bodies have a table of their own, so that counting and choosing requests does not read them.
_TABLES: Final = f"""
BEGIN;
CREATE TABLE parcel (
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
CREATE TABLE body (row INTEGER PRIMARY KEY, fields BLOB NOT NULL, spans BLOB NOT NULL);
CREATE TABLE journal (
    number INTEGER PRIMARY KEY,
    trace_id TEXT NOT NULL,
    span_id TEXT NOT NULL,
    is_open INTEGER NOT NULL,
    data BLOB NOT NULL,
    crc INTEGER NOT NULL
);
CREATE UNIQUE INDEX journal_by_span ON journal (trace_id, span_id);
CREATE TABLE open_trace (trace_id TEXT PRIMARY KEY, state TEXT NOT NULL);
PRAGMA user_version = {VERSION};
COMMIT;
"""
_LARGEST_LOG: Final = 4 << 20
_WRITE_AHEAD: Final = b"\2\2"
_FORMS: Final = (b"", b"\1\1", _WRITE_AHEAD)
"""Values of the header bytes that state the form of the file: an empty file, one without a log, one with a log."""
_COUNTS: Final = (slice(24, 40), slice(92, 100))
"""Parts of the first page that differ between files: number of changes, size, free pages, SQLite's version."""

_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})


def connect(path: Path, *, locks: bool = True) -> sqlite3.Connection:
    """Open the database, and create its tables if necessary. Raises sqlite3.Error.

    The exclusive locking mode keeps the index of the log in memory instead of in a mapped file: only one process owns
    the database, and truncating a mapped file would kill the app.

    `locks=False`: without SQLite's own locks, which a connection that this process has lost holds for ever.
    """
    address = str(path) if locks else f"{path.absolute().as_uri()}?vfs=unix-none"
    db = sqlite3.connect(address, uri=not locks, isolation_level=None, check_same_thread=False, timeout=1.0)
    try:
        # SQLite refers to the connection until `close`. Otherwise Python would close one that is only dropped, after a
        # fork or after the app has closed its descriptors, and write to files that it does not own any more.
        db.create_function("itself", 0, cast("Any", db))
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        set_up(db, path, _TABLES, journal_mode="WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA journal_size_limit = {_LARGEST_LOG}")
        db.execute("PRAGMA cell_size_check = ON")
    except BaseException:
        db.close()
        raise
    return db


def set_up(db: sqlite3.Connection, path: Path, tables: str, *, journal_mode: str = "DELETE") -> None:
    """Create the tables of a new database, or check those of another. Raises sqlite3.Error and OSError."""
    db.text_factory = _text
    refuse_link(path)
    with path.open("rb") as file:
        if file.read(20)[18:] not in _FORMS:  # SQLite takes the file for a later version's and only reads it
            raise sqlite3.DatabaseError("its header is damaged")
    try:
        db.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        if journal_mode == "DELETE":
            # A process that is killed before the first sync of its journal leaves a file that SQLite neither reads nor
            # deletes. Leaving another mode deletes it.
            db.execute("PRAGMA journal_mode = TRUNCATE")
        db.execute(f"PRAGMA journal_mode = {journal_mode}")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, VERSION):
            raise sqlite3.NotSupportedError(f"has version {version}; this library writes version {VERSION}")
        found = _tables(db)
    except (UnicodeDecodeError, sqlite3.OperationalError) as error:  # UnicodeDecodeError: a damaged name
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) != sqlite3.SQLITE_ERROR:
            raise
        raise sqlite3.DatabaseError("its tables are damaged") from error
    if not found:
        db.executescript(tables)
    elif found != _new(tables)[0]:
        raise sqlite3.DatabaseError("its tables are damaged")


@contextmanager
def transaction(db: sqlite3.Connection) -> Generator[None]:
    """Run the block in a transaction."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


def restore_first_page(path: Path) -> None:
    """Write the header and the tables anew, which are the same in every file; without them nothing can be read.

    The list of free pages becomes empty, and SQLite determines the number of pages from the size of the file. Raises
    OSError.
    """
    page = bytearray(_new(_TABLES)[1])
    with path.open("r+b") as file:
        old = file.read(PAGE_SIZE)
        if not page or len(old) < PAGE_SIZE:
            return
        for part in _COUNTS:
            page[part] = old[part]
        page[18:20] = _WRITE_AHEAD
        page[32:40] = bytes(8)
        page[92:96] = bytes(byte ^ 0xFF for byte in page[24:28])  # SQLite uses the header's size if both are equal
        file.seek(0)
        file.write(page)


@cache
def _new(tables: str) -> tuple[list[Any], bytes]:
    """Return the tables as a connection shows them, and the first page of a new file (b"" if unknown)."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        db.executescript(tables)
        content: bytes = db.serialize() if hasattr(db, "serialize") else b""  # SQLite may be built without it
        return _tables(db), content[:PAGE_SIZE]


def _tables(db: sqlite3.Connection) -> list[Any]:
    return db.execute("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master ORDER BY rowid").fetchall()


def is_damage(error: Exception) -> bool:
    """Return whether the error means broken content, rather than a file that cannot be reached or written."""
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(error, sqlite3.NotSupportedError):
        return False
    if code is None:
        return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
    return code & 0xFF in _DAMAGE


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")  # damaged text must be readable, so that it can be recognized
