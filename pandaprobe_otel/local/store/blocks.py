"""Compressed contents of a trace: names, errors, inputs and outputs, with an index of the words in them.

A request that brings spans adds one block; the contents of the trace itself are in its first block, under the id "".
The number of a block begins with the number of its trace. Triggers keep the full-text index in step with the blocks,
and take a block's words from the block itself, so that nothing is left of a deleted trace.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Final, TypeAlias

import orjson

from pandaprobe_otel.local.payloads import dumps
from pandaprobe_otel.local.search.text_words import BETWEEN, is_data, plain, strings_in

Content: TypeAlias = tuple[str, str | None, str | None, str | None]
"""Name, error, and input and output as JSON text, of a span or of the trace."""
Contents: TypeAlias = Mapping[str, Content]
"""Contents by span id, and those of the trace by the empty text."""

BITS: Final = 20
"""Bits of a block's number within its trace."""
TRACE: Final = ""
_LEVEL: Final = 4
_LAST: Final = (1 << BITS) - 1

SCHEMA: Final = f"""
    CREATE TABLE blocks (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
    CREATE VIRTUAL TABLE words USING fts5(body, content='', columnsize=0, tokenize='unicode61 remove_diacritics 0');
    -- Segments of words are merged less often than with the default of 4, which a POST waits for.
    INSERT INTO words (words, rank) VALUES ('automerge', 8);
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


def block_of(seq: int) -> int:
    """Return the number of the first block of a trace."""
    return seq << BITS


def next_block(connection: sqlite3.Connection, seq: int) -> int:
    """Return the number of a new block of a trace."""
    of_trace = (block_of(seq), block_of(seq) + _LAST)
    (last,) = connection.execute("SELECT MAX(id) FROM blocks WHERE id BETWEEN ? AND ?", of_trace).fetchone()
    return int(last or block_of(seq)) + 1


def read(connection: sqlite3.Connection, numbers: Collection[int]) -> dict[int, Contents]:
    """Return blocks by their numbers."""
    statement = "SELECT id, data FROM blocks WHERE id IN (SELECT value FROM json_each(?))"
    return {row["id"]: unpacked(row["data"]) for row in connection.execute(statement, (dumps([*numbers]).decode(),))}


def write(connection: sqlite3.Connection, changed: Mapping[int, Contents]) -> None:
    """Store contents in their blocks, in place of earlier ones of the same ids.

    This is one statement, and comes late in its transaction: before a later one, FTS5 may write the words so far to a
    segment of their own, and merge it later.
    """
    earlier = read(connection, changed)
    rows = [
        value
        for block, contents in changed.items()
        for value in (block, packed({**earlier.get(block, {}), **contents}))
    ]
    if rows:
        connection.execute(
            f"INSERT INTO blocks VALUES {', '.join(['(?, ?)'] * len(changed))}"
            " ON CONFLICT (id) DO UPDATE SET data = excluded.data",
            rows,
        )


def packed(contents: Contents) -> bytes:
    """Return a block. JSON texts are restored exactly."""
    return zlib.compress(orjson.dumps([[span_id, *content] for span_id, content in contents.items()]), _LEVEL)


# A block is read again soon after it is written: for its words, and to find failures.
@lru_cache(maxsize=4)
def unpacked(block: bytes) -> Contents:
    """Return the contents of a block."""
    rows: list[list[str]] = orjson.loads(zlib.decompress(block))
    return {span_id: (name, error, given, answered) for span_id, name, error, given, answered in rows}


def searchable(block: bytes) -> str:
    """Return the text that is indexed for a block."""
    contents = unpacked(block).values()
    payloads = ",".join(payload for _, _, *both in contents for payload in both if payload)
    named = (text for name, error, _, _ in contents for text in (name, error) if text)
    return joined(dict.fromkeys([*named, *strings_in(f"[{payloads}]")]))


def joined(texts: Iterable[str]) -> str:
    """Join texts so that no phrase spans two of them."""
    return f" {BETWEEN} ".join(plain(text.replace(BETWEEN, " ")) for text in texts if not is_data(text))
