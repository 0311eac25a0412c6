"""Facets of a project as sets of traces, shifted so that bit 0 is the first trace in the index."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pandaprobe_otel.local.payloads import dumps
from pandaprobe_otel.local.sealing.bit_sets import CHUNK, joined
from pandaprobe_otel.local.sealing.facets import project_number
from pandaprobe_otel.local.sealing.set_cache import SetCache, Versions
from pandaprobe_otel.local.sealing.sliced_numbers import Column

_KNOWN: Final = SetCache(max_bytes=64 << 20)
"""64 MiB hold 5,000 sets of 100,000 traces; a page reads up to 400 sets."""


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A value of a facet, and the number of traces in the index that have it."""

    id: int
    key: str
    value: str
    traces: int


class FacetSets:
    """The facets of one project within a transaction."""

    def __init__(self, connection: sqlite3.Connection, project_id: str) -> None:
        self._connection = connection
        self.project = project_number(connection, project_id)
        chunks = connection.execute(
            "SELECT chunk, version FROM facet_chunks WHERE project = ?", (self.project,)
        ).fetchall()
        versions = {row["chunk"]: row["version"] for row in chunks}
        self._first = min(versions, default=0)
        self._chunks = max(versions) - self._first + 1 if versions else 0
        self._versions: Versions = tuple(versions.get(self._first + at, 0) for at in range(self._chunks))
        self._columns: dict[str, Column] = {}
        self.base = self._first * CHUNK
        """Number of the trace at bit 0."""
        self.size = self._chunks * CHUNK

    def of(self, key: str, value: str) -> int:
        """Return the traces with a facet."""
        return self.of_any(
            row["id"]
            for row in self._connection.execute(
                "SELECT id FROM facets WHERE project = ? AND key = ? AND value = ?", (self.project, key, value)
            )
        )

    def like(self, key: str, pattern: str) -> int:
        """Return the traces with a value that matches an SQL pattern, with backslash as the escape character."""
        return self.of_any(
            row["id"]
            for row in self._connection.execute(
                "SELECT id FROM facets WHERE project = ? AND key = ? AND value LIKE ? ESCAPE '\\'",
                (self.project, key, pattern),
            )
        )

    def of_any(self, ids: Iterable[int]) -> int:
        """Return the traces that have at least one of some facets."""
        found = 0
        for bits in self.load(ids).values():
            found |= bits
        return found

    def load(self, ids: Iterable[int]) -> dict[int, int]:
        """Return the traces of facets, by the facets' ids."""
        wanted = list(ids)
        # New traces change only the last chunk, so the others are usually known.
        last = max(self._chunks - 1, 0)
        older, newest = self._part(wanted, 0, last), self._part(wanted, last, self._chunks)
        return {facet: older[facet] | newest[facet] << last * CHUNK for facet in wanted}

    def of_words(self, query: str, read: Callable[[int, int], int]) -> int:
        """Return the traces with words. `read` finds those in a range, by its first number and its size."""
        last, found = max(self._chunks - 1, 0), 0
        for begin, end in ((0, last), (last, self._chunks)):
            versions = self._versions[begin:end]
            known = _KNOWN.get([query], versions)
            if not known:
                known = {query: read(self.base + begin * CHUNK, (end - begin) * CHUNK)}
                _KNOWN.put(known, versions)
            found |= known[query] << begin * CHUNK
        return found

    def _part(self, wanted: Sequence[int], begin: int, end: int) -> dict[int, int]:
        """Return the traces of facets in some of the chunks, shifted so that bit 0 is the first trace in them."""
        versions = self._versions[begin:end]
        found = _KNOWN.get(wanted, versions)
        if missing := [facet for facet in wanted if facet not in found]:
            read = self._read(missing, begin, end)
            _KNOWN.put(read, versions)
            found |= read
        return found

    def _read(self, wanted: Sequence[int], begin: int, end: int) -> dict[int, int]:
        parts: dict[int, list[tuple[int, bytes]]] = {facet: [] for facet in wanted}
        cursor = self._connection.cursor()
        cursor.row_factory = None
        rows = cursor.execute(
            "SELECT facet, chunk, bits FROM json_each(?) AS part CROSS JOIN json_each(?) AS wanted"
            " CROSS JOIN facet_bits ON project = ? AND chunk = part.value AND facet = wanted.value",
            (dumps([self._first + at for at in range(begin, end)]).decode(), dumps(wanted).decode(), self.project),
        )
        for facet, chunk, bits in rows:
            parts[facet].append((chunk - self._first - begin, bits))
        return {facet: joined(found, end - begin) for facet, found in parts.items()}

    def column(self, name: str) -> Column:
        """Return a column of numbers."""
        if name not in self._columns:
            rows = self._connection.execute(
                "SELECT id, value FROM facets WHERE project = ? AND key = ?", (self.project, f"#{name}")
            ).fetchall()
            sets = self.load(row["id"] for row in rows)
            by_value: Mapping[str, int] = {row["value"]: sets[row["id"]] for row in rows}
            places = max((int(value) for value in by_value if value != "known"), default=-1) + 1
            self._columns[name] = Column(
                known=by_value.get("known", 0), digits=[by_value.get(str(place), 0) for place in range(places)]
            )
        return self._columns[name]

    def is_listed(self, key: str) -> bool:
        """Return whether all values of a key are facets."""
        unlisted = "SELECT 1 FROM unlisted_facets WHERE project = ? AND key = ?"
        return self._connection.execute(unlisted, (self.project, key)).fetchone() is None

    def values(self, keys: Sequence[str], *, most: int) -> list[FacetValue]:
        """Return the most frequent values of keys, up to a limit for each."""
        rows = self._connection.execute(
            "SELECT facets.* FROM json_each(?) AS wanted CROSS JOIN facets ON facets.id IN ("
            " SELECT id FROM facets AS one WHERE one.project = ? AND one.key = wanted.value AND one.traces > 0"
            " ORDER BY one.traces DESC, one.value LIMIT ?)",
            (dumps(list(keys)).decode(), self.project, most),
        )
        return [FacetValue(row["id"], row["key"], row["value"], row["traces"]) for row in rows]

    def beginning(self, key: str, text: str, *, most: int) -> list[FacetValue]:
        """Return the most frequent values of a key that begin with a text, in any case."""
        rows = self._connection.execute(
            "SELECT * FROM facets WHERE project = ? AND key = ? AND traces > 0 AND instr(lower(value), lower(?)) = 1"
            " ORDER BY traces DESC, value LIMIT ?",
            (self.project, key, text, most),
        )
        return [FacetValue(row["id"], row["key"], row["value"], row["traces"]) for row in rows]

    def metadata_keys(self) -> list[str]:
        """Return the keys of metadata that have facets."""
        rows = self._connection.execute(
            "SELECT DISTINCT key FROM facets WHERE project = ? AND key BETWEEN 'meta.' AND 'meta/'", (self.project,)
        )
        return [row["key"] for row in rows]
