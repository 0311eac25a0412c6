"""Compressed inputs and outputs of all spans of a sealed trace.

In a conversation, each model call repeats the previous messages. Long strings are stored once, which zlib cannot do
beyond its window of 32 kB. A trace of 42 kB takes 6 to 7 kB, or 21 kB if each span is compressed separately.
"""

from __future__ import annotations

import re
import sqlite3
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, TypeAlias

import orjson

from pandaprobe_otel.local.sealing.stored_trace import StoredTrace

Payloads: TypeAlias = Mapping[str, tuple[str | None, str | None]]
"""Input and output of spans as JSON text, by span id."""

SHORTEST: Final = 48
"""Length from which a string is stored once."""
# JSON text contains no raw control characters, so one of them can mark the place of a string.
_MARK: Final = "\x00"
_STRING: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_PLACE: Final = re.compile(f"{_MARK}([0-9]+){_MARK}")


def packed(payloads: Payloads) -> bytes:
    """Return a block. Payloads are JSON texts, and are restored exactly."""
    places: dict[str, int] = {}

    def place(found: re.Match[str]) -> str:
        text = found[0]
        return text if len(text) < SHORTEST else f"{_MARK}{places.setdefault(text, len(places))}{_MARK}"

    short = [
        [span_id, *(None if text is None else _STRING.sub(place, text) for text in pair)]
        for span_id, pair in payloads.items()
    ]
    return zlib.compress(orjson.dumps([list(places), short]), 6)


def unpacked(block: bytes) -> Payloads:
    """Return the payloads of a block."""
    strings, short = orjson.loads(zlib.decompress(block))

    def whole(text: str | None) -> str | None:
        return None if text is None else _PLACE.sub(lambda found: strings[int(found[1])], text)

    return {span_id: (whole(given), whole(answered)) for span_id, given, answered in short}


def payloads_of(trace: StoredTrace) -> Payloads:
    """Return the payloads of the spans of a trace."""
    return {
        span["span_id"]: (span["input"], span["output"])
        for span in trace.spans
        if span["input"] is not None or span["output"] is not None
    }


def add_function(connection: sqlite3.Connection) -> None:
    """Let SQL read blocks: `unpacked(block, span_id, 0 or 1)` is the input or the output of a span."""
    connection.create_function("unpacked", 3, _payload, deterministic=True)


def keep(connection: sqlite3.Connection, trace: StoredTrace, block: bytes) -> None:
    """Store a block in place of a trace's payloads.

    The spans' rows are inserted again, since rows that shrink leave their pages half empty.
    """
    connection.execute("INSERT OR REPLACE INTO blocks (seq, data) VALUES (?, ?)", (trace.seq, block))
    connection.execute(
        f"INSERT OR REPLACE INTO spans ({_COLUMNS}, input, output) SELECT {_COLUMNS}, NULL, NULL FROM spans"
        " WHERE trace_seq = ? AND (input IS NOT NULL OR output IS NOT NULL)",
        (trace.seq,),
    )


def give_back(connection: sqlite3.Connection, seq: int) -> None:
    """Move the payloads of a trace back into the rows of its spans, before they change."""
    row = connection.execute("SELECT data FROM blocks WHERE seq = ?", (seq,)).fetchone()
    if row is None:
        return
    connection.executemany(
        "UPDATE spans SET input = ?, output = ? WHERE span_id = ?",
        [(given, answered, span_id) for span_id, (given, answered) in unpacked(row["data"]).items()],
    )
    connection.execute("DELETE FROM blocks WHERE seq = ?", (seq,))


_COLUMNS: Final = (
    "span_id, trace_seq, parent_span_id, kind, status, started_at, ended_at, completion_start_time, prompt_tokens,"
    " completion_tokens, total_cost, name, model, token_usage, model_parameters, cost, metadata, error"
)
# A trace is read span by span, and each span reads both of its payloads.
_read: Final = lru_cache(maxsize=4)(unpacked)


def _payload(block: bytes, span_id: str, which: int) -> str | None:
    pair = _read(block).get(span_id)
    return None if pair is None else pair[which]
