"""Recovery of the readable content of a damaged file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

from pandaprobe_otel.delivery.spool.rows import JournalRow, Kept
from pandaprobe_otel.delivery.spool.spool_file import RowsBy, SpoolFile
from pandaprobe_otel.delivery.store import Place

_ERRORS: Final = (sqlite3.Error, TypeError, ValueError)
_Item = TypeVar("_Item")


def readable_requests(file: SpoolFile) -> Iterator[tuple[Place, Kept]]:
    """Yield the intact requests of a file, oldest first.

    Row numbers are read from the two tables, which are separate trees. Each is read from both ends, up to the first
    damaged page. Then each row is looked up by itself.
    """
    rows: set[int] = set()
    for way in RowsBy:
        rows.update(_until_damage(file.row_numbers(way)))
    for row in sorted(rows):
        try:
            found = file.request(row)
        except _ERRORS:
            continue
        if found is not None and found[1] is not None:
            yield found[0], found[1]


def readable_journal(file: SpoolFile) -> list[JournalRow]:
    """Return the intact spans of a file, up to the first damaged page."""
    return [row for row in _until_damage(file.journal()) if row is not None]


def _until_damage(items: Iterable[_Item]) -> Iterator[_Item]:
    try:
        yield from items
    except _ERRORS:
        return
