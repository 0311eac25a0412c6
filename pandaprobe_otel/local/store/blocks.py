"""Compressed contents of a trace: names, errors, inputs and outputs, with an index of the words in them.

A request that brings spans adds one block; the contents of the trace itself are in its first block, under the id "".
The number of a block begins with the number of its trace. Triggers keep the full-text index in step with the blocks,
and take a block's words from the block itself, so that nothing is left of a deleted trace.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, TypeAlias

import orjson

from pandaprobe_otel.local.search.text_words import BETWEEN, is_data, plain, strings_in

Content: TypeAlias = tuple[str, str | None, str | None, str | None]
"""Name, error, and input and output as JSON text, of a span or of the trace."""
Contents: TypeAlias = Mapping[str, Content]
"""Contents by span id, and those of the trace by the empty text."""

BITS: Final = 20
"""Bits of a block's number within its trace."""
TRACE: Final = ""
_LEVEL: Final = 6
_LAST: Final = (1 << BITS) - 1

SCHEMA: Final = f"""
    CREATE TABLE blocks (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
    CREATE VIRTUAL TABLE words USING fts5(body, content='', columnsize=0, tokenize='unicode61 remove_diacritics 0');
    CREATE TRIGGER words_of_new_block AFTER INSERT ON blocks BEGIN
        INSERT INTO words (rowid, body) VALUES (new.id, searchable(new.data));
    END;
    CREATE TRIGGER words_of_changed_block AFTER UPDATE ON blocks BEGIN
        INSERT INTO words (words, rowid, body) VALUES ('delete', old.id, searchable(old.data));
        INSERT INTO words (rowid, body) VALUES (new.id, searchable(new.data));
    END;
    CREATE TRIGGER words_of_deleted_block AFTER DELETE ON blocks BEGIN
        INSERT INTO words (words, rowid, body) VALUES ('delete', old.id, searchable(old.data));
    END;
    CREATE TRIGGER blocks_of_deleted_trace AFTER DELETE ON traces BEGIN
        DELETE FROM blocks WHERE id BETWEEN old.seq << {BITS} AND (old.seq << {BITS}) + {_LAST};
    END;
"""


def add_functions(connection: sqlite3.Connection) -> None:
    """Let SQL read blocks: `unpacked(block, span_id, n)` is a content of a span, `searchable(block)` all text."""
    connection.create_function("unpacked", 3, _content, deterministic=True)
    connection.create_function("searchable", 1, searchable, deterministic=True)


def keep_trace(connection: sqlite3.Connection, seq: int, content: Content) -> None:
    """Store the contents of a trace itself, in place of earlier ones."""
    _write(connection, seq << BITS, {TRACE: content})


def next_block(connection: sqlite3.Connection, seq: int) -> int:
    """Return the number of the next block of a trace."""
    (last,) = connection.execute(
        "SELECT MAX(id) FROM blocks WHERE id BETWEEN ? AND ?", (seq << BITS, (seq << BITS) + _LAST)
    ).fetchone()
    return int(last) + 1


def keep_spans(connection: sqlite3.Connection, contents: Contents, blocks: Mapping[str, int]) -> None:
    """Store the contents of spans in their blocks, in place of earlier ones. An omitted error stays."""
    for block in sorted({blocks[span_id] for span_id in contents}):
        row = connection.execute("SELECT data FROM blocks WHERE id = ?", (block,)).fetchone()
        kept: dict[str, Content] = {} if row is None else dict(unpacked(row["data"]))
        for span_id, (name, error, given, answered) in contents.items():
            if blocks[span_id] == block:
                earlier = kept[span_id][1] if span_id in kept else None
                kept[span_id] = (name, earlier if error is None else error, given, answered)
        _write(connection, block, kept)


def put(connection: sqlite3.Connection, block: int, span_id: str, content: Content) -> None:
    """Replace the contents of one span in its block."""
    (data,) = connection.execute("SELECT data FROM blocks WHERE id = ?", (block,)).fetchone()
    _write(connection, block, {**unpacked(data), span_id: content})


def packed(contents: Contents) -> bytes:
    """Return a block. JSON texts are restored exactly."""
    return zlib.compress(orjson.dumps([[span_id, *content] for span_id, content in contents.items()]), _LEVEL)


# A trace is read span by span, and each span reads two of its contents.
@lru_cache(maxsize=4)
def unpacked(block: bytes) -> Contents:
    """Return the contents of a block."""
    return {span_id: (name, error, given, answered) for span_id, name, error, given, answered in _rows(block)}


def searchable(block: bytes) -> str:
    """Return the text that is indexed for a block."""
    found: dict[str, None] = {}
    for _, name, error, given, answered in _rows(block):
        found[name] = None
        if error:
            found[error] = None
        found.update(dict.fromkeys(strings_in(given)))
        found.update(dict.fromkeys(strings_in(answered)))
    return joined(found)


def joined(texts: Iterable[str]) -> str:
    """Join texts so that no phrase spans two of them."""
    return f" {BETWEEN} ".join(plain(text.replace(BETWEEN, " ")) for text in texts if not is_data(text))


def _rows(block: bytes) -> list[list[str]]:
    rows: list[list[str]] = orjson.loads(zlib.decompress(block))
    return rows


def _content(block: bytes, span_id: str, which: int) -> str | None:
    content = unpacked(block).get(span_id)
    return None if content is None else content[which]


def _write(connection: sqlite3.Connection, block: int, contents: Contents) -> None:
    connection.execute(
        "INSERT INTO blocks VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET data = excluded.data",
        (block, packed(contents)),
    )
