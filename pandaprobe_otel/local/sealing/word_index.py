"""Full-text index of the words of traces in SQLite: one table for each project, deleted with the project."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final

import orjson

from pandaprobe_otel.local.sealing.bit_sets import bits_of
from pandaprobe_otel.local.sealing.derivation import Derivation
from pandaprobe_otel.local.sealing.facets import project_number
from pandaprobe_otel.local.sealing.stored_trace import StoredTrace
from pandaprobe_otel.local.search.text_words import BETWEEN, Phrase, is_data, plain, strings_in

FORM: Final = "USING fts5(body, content='', columnsize=0, tokenize='unicode61 remove_diacritics 0')"


def strings_of(trace: StoredTrace) -> list[str]:
    """Return the distinct searchable strings of a trace: names, errors, inputs and outputs."""
    found: dict[str, None] = {trace.row["name"]: None}
    for row in (trace.row, *trace.spans):
        for payload in (row["input"], row["output"]):
            found.update(dict.fromkeys(strings_in(payload)))
    for span in trace.spans:
        found[span["name"]] = None
        if span["error"]:
            found[span["error"]] = None
    return list(found)


@cache
def has_full_text() -> bool:
    """Return whether this SQLite has FTS5."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE VIRTUAL TABLE words " + FORM)
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True


def query_of(phrases: Sequence[Phrase]) -> str:
    """Return the query for traces that have all phrases."""
    return " AND ".join(phrase.match for phrase in phrases)


def matching(connection: sqlite3.Connection, project: int, query: str, base: int, size: int) -> int:
    """Return the sealed traces of a project that match a query: bit n is trace `base` + n, below `size`."""
    cursor = connection.cursor()
    cursor.row_factory = None
    table = f"words_{project}"
    if not _exists(connection, table):
        return 0
    # All numbers in one text: one row for each trace takes three times as long, and one for each group of them as well.
    (found,) = cursor.execute(
        f"SELECT json_group_array(rowid - ?) FROM {table} WHERE {table} MATCH ? AND rowid BETWEEN ? AND ?",
        (base, query, base, base + size - 1),
    ).fetchone()
    return bits_of(orjson.loads(found), size)


def document(trace: StoredTrace) -> str:
    """Return the text that is indexed for a trace."""
    return joined(strings_of(trace))


def joined(texts: Iterable[str]) -> str:
    """Join texts so that no phrase spans two of them."""
    return f" {BETWEEN} ".join(plain(text.replace(BETWEEN, " ")) for text in texts if not is_data(text))


def _keep(connection: sqlite3.Connection, traces: Sequence[tuple[StoredTrace, str]]) -> None:
    for row in connection.execute("SELECT n FROM dropped_words").fetchall():
        connection.execute(f"DROP TABLE IF EXISTS words_{row['n']}")
        connection.execute("DELETE FROM dropped_words WHERE n = ?", (row["n"],))
    for trace, text in traces:
        table = f"words_{project_number(connection, trace.project_id)}"
        if not _exists(connection, table):
            connection.execute(f"CREATE VIRTUAL TABLE {table} {FORM}")
        connection.execute(f"INSERT INTO {table} (rowid, body) VALUES (?, ?)", (trace.seq, text))


def _forget(connection: sqlite3.Connection, trace: StoredTrace, text: str) -> None:
    table = f"words_{project_number(connection, trace.project_id)}"
    if _exists(connection, table):
        connection.execute(f"INSERT INTO {table} ({table}, rowid, body) VALUES ('delete', ?, ?)", (trace.seq, text))


def _clear(connection: sqlite3.Connection) -> None:
    """Mark the tables of all removed projects; the next trace drops them."""


def _exists(connection: sqlite3.Connection, table: str) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,))
    return found.fetchone() is not None


WORDS: Final = Derivation(name="words", version=2, derive=document, keep=_keep, forget=_forget, clear=_clear)
