"""Facets: properties that traces share, such as a model or a tool. The index has the set of traces for each facet."""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pandaprobe_otel.local.payloads import dumps, loads
from pandaprobe_otel.local.sealing.bit_sets import CHUNK
from pandaprobe_otel.local.sealing.derivation import Derivation
from pandaprobe_otel.local.sealing.stored_trace import StoredTrace

KINDS: Final = {"TOOL": "tool", "AGENT": "agent", "RETRIEVER": "retriever"}
INDEXED: Final = ("", "indexed")
"""Facet of the traces whose other facets are complete."""
UNINDEXED: Final = ("", "unindexed")
"""Facet of the traces with a number that cannot be stored as bits, such as a negative duration."""
ERROR: Final = ("", "error")
COST_UNITS: Final = 1e9
"""Costs are multiplied by this, since they are compared in billionths of a dollar."""
MOST_VALUES: Final = 1000
LONGEST_VALUE: Final = 200
LONGEST_ERROR_TYPE: Final = 80
ERROR_TYPES: Final = ("error_type", "exception_type")
"""Metadata of a span with the type of its error."""
NUMBER: Final = "#"
"""First character of the keys of facets that store a number in binary: one set for each digit, and the set `known`."""
_OF_MODEL: Final = (f"{NUMBER}tokens of ", f"{NUMBER}cost of ")
"""Beginnings of the keys of a model's numbers."""
_LARGEST: Final = 2**62


@dataclass(frozen=True, slots=True)
class Facets:
    """Facets of a trace: `named` as keys and values, numbers by the name of their column.

    `unlisted` are the keys with a value that is not a facet.
    """

    named: frozenset[tuple[str, str]]
    numbers: dict[str, int] = field(default_factory=dict[str, int])
    unlisted: frozenset[str] = frozenset()


def facets_of(trace: StoredTrace) -> Facets:
    """Return the facets of a trace."""
    numbers = _numbers(trace)
    if not all(0 <= number < _LARGEST for number in numbers.values()):
        return Facets(frozenset({UNINDEXED}))
    named: set[tuple[str, str]] = {INDEXED}
    unlisted: set[str] = set()
    for key, value in _named(trace):
        if value is None or len(value) > LONGEST_VALUE:
            unlisted.add(key)
        else:
            named.add((key, value))
    return Facets(named=frozenset(named), numbers=numbers, unlisted=frozenset(unlisted))


def _numbers(trace: StoredTrace) -> dict[str, int]:
    row = trace.row
    cost: float = row["total_cost"]
    numbers: dict[str, int] = {
        "started": row["started_at"],
        "tokens": row["total_tokens"],
        "spans": row["span_count"],
        "cost": _units(cost),
    }
    if row["ended_at"] is not None:
        numbers["latency"] = row["ended_at"] - row["started_at"]
    waits = [
        span["completion_start_time"] - span["started_at"]
        for span in trace.spans
        if span["completion_start_time"] is not None
    ]
    for span in trace.spans:
        if (model := span["model"]) is not None and len(model) <= LONGEST_VALUE:
            tokens = span["prompt_tokens"] + span["completion_tokens"]
            numbers[tokens_of(model)] = numbers.get(tokens_of(model), 0) + tokens
            numbers[cost_of(model)] = numbers.get(cost_of(model), 0) + _units(span["total_cost"])
    if waits:
        numbers |= {"shortest ttft": min(waits), "longest ttft": max(waits)}
    return numbers


def _units(cost: float) -> int:
    return math.floor(cost * COST_UNITS + 0.5) if math.isfinite(cost) else -1


def tokens_of(model: str) -> str:
    """Return the name of the column with the tokens of a model's calls."""
    return f"tokens of {model}"


def cost_of(model: str) -> str:
    """Return the name of the column with the cost of a model's calls."""
    return f"cost of {model}"


def _named(trace: StoredTrace) -> Iterator[tuple[str, str | None]]:
    row = trace.row
    for key, column in (("status", "status"), ("name", "name"), ("env", "environment"), ("release", "release")):
        if row[column] is not None:
            yield key, row[column]
    yield from (("tag", tag) for tag in loads(row["tags"]))
    yield from ((f"meta.{key}", _text(value)) for key, value in loads(row["metadata"]).items() if value is not None)
    failed = row["status"] == "ERROR"
    for span in trace.spans:
        if span["kind"] in KINDS:
            yield KINDS[span["kind"]], span["name"]
        if span["model"] is not None:
            yield "model", span["model"]
        if span["error"] is not None:
            yield "error_type", error_type(span["error"], loads(span["metadata"]))
        if span["status"] == "ERROR":
            failed = True
            yield "failed", span["name"]
    if failed:
        yield ERROR


def error_type(error: str, metadata: Mapping[str, Any]) -> str:
    """Return the type of an error: that of the metadata, else the beginning of the text, up to its first colon."""
    named = (metadata.get(key) for key in ERROR_TYPES)
    found = next((kind for kind in named if isinstance(kind, str) and kind), error.partition(":")[0])
    return found[:LONGEST_ERROR_TYPE]


def _text(value: Any) -> str | None:
    """Return a metadata value in SQLite's text form; None for one that SQLite may write differently."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) and abs(value) < _LARGEST else None


# -- the tables --------------------------------------------------------------------------------------------------------


def project_number(connection: sqlite3.Connection, project_id: str) -> int | None:
    """Return the number of a project in the index; None if it has no trace there."""
    row = connection.execute("SELECT n FROM indexed_projects WHERE project_id = ?", (project_id,)).fetchone()
    return None if row is None else int(row["n"])


def _keep(connection: sqlite3.Connection, traces: Sequence[tuple[StoredTrace, Facets]]) -> None:
    by_project: dict[str, dict[int, Facets]] = {}
    for trace, facets in traces:
        by_project.setdefault(trace.project_id, {})[trace.seq] = facets
    for project_id, found in by_project.items():
        connection.execute("INSERT OR IGNORE INTO indexed_projects (project_id) VALUES (?)", (project_id,))
        project = project_number(connection, project_id)
        assert project is not None
        for key in sorted({key for facets in found.values() for key in facets.unlisted}):
            _unlist(connection, project, key)
        wanted = {seq: _all(facets) for seq, facets in found.items()}
        known = _listed(connection, project, set[tuple[str, str]]().union(*wanted.values()))
        _change(connection, project, {seq: each & known.keys() for seq, each in wanted.items()}, known, on=True)


def _forget(connection: sqlite3.Connection, trace: StoredTrace, facets: Facets) -> None:
    project = project_number(connection, trace.project_id)
    if project is not None:
        known = _ids(connection, project, _all(facets))
        _change(connection, project, {trace.seq: known.keys()}, known, on=False)


def _clear(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM indexed_projects")


def _all(facets: Facets) -> set[tuple[str, str]]:
    """Return the named facets, and those of the binary digits of numbers."""
    found = set(facets.named)
    for column, number in facets.numbers.items():
        found.add((f"{NUMBER}{column}", "known"))
        found.update((f"{NUMBER}{column}", str(place)) for place in range(number.bit_length()) if number >> place & 1)
    return found


def _listed(connection: sqlite3.Connection, project: int, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Return the ids of facets, which are added unless their keys have too many values."""
    known = _ids(connection, project, wanted)
    new = sorted(wanted - known.keys())
    for key, value in new:
        if _is_listed(connection, project, key):
            connection.execute("INSERT INTO facets (project, key, value) VALUES (?, ?, ?)", (project, key, value))
    return _ids(connection, project, wanted) if new else known  # A key with too many values has no facets any more.


def _ids(connection: sqlite3.Connection, project: int, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    rows = connection.execute(
        "SELECT facets.id, facets.key, facets.value FROM json_each(?) AS wanted CROSS JOIN facets ON project = ?"
        " AND facets.key = json_extract(wanted.value, '$[0]') AND facets.value = json_extract(wanted.value, '$[1]')",
        (dumps(sorted(wanted)).decode(), project),
    )
    return {(row["key"], row["value"]): row["id"] for row in rows}


def _is_listed(connection: sqlite3.Connection, project: int, key: str) -> bool:
    """Return whether a key may have one more value. A key with too many values has none from now on."""
    if key.startswith(_OF_MODEL):
        return _is_listed(connection, project, "model")
    if not key or key.startswith(NUMBER):
        return True
    if connection.execute("SELECT 1 FROM unlisted_facets WHERE project = ? AND key = ?", (project, key)).fetchone():
        return False
    (values,) = connection.execute(
        "SELECT COUNT(*) FROM facets WHERE project = ? AND key = ?", (project, key)
    ).fetchone()
    if values < MOST_VALUES:
        return True
    _unlist(connection, project, key)
    return False


def _unlist(connection: sqlite3.Connection, project: int, key: str) -> None:
    connection.execute("INSERT OR IGNORE INTO unlisted_facets (project, key) VALUES (?, ?)", (project, key))
    of_key = "SELECT id FROM facets WHERE project = ? AND key = ?"
    connection.execute(f"DELETE FROM facet_bits WHERE project = ? AND facet IN ({of_key})", (project, project, key))
    connection.execute("DELETE FROM facets WHERE project = ? AND key = ?", (project, key))
    connection.execute("UPDATE facet_chunks SET version = random() WHERE project = ?", (project,))


def _change(
    connection: sqlite3.Connection,
    project: int,
    traces: Mapping[int, Iterable[tuple[str, str]]],
    ids: Mapping[tuple[str, str], int],
    *,
    on: bool,
) -> None:
    """Add traces to the sets of their facets, or remove them."""
    changed: dict[tuple[int, int], int] = {}
    counts = Counter[int]()
    for seq, facets in traces.items():
        chunk, bit = seq // CHUNK, 1 << seq % CHUNK
        for facet in facets:
            place = chunk, ids[facet]
            changed[place] = changed.get(place, 0) | bit
            if not facet[0].startswith(NUMBER):
                counts[ids[facet]] += 1
    stored = connection.execute(
        "SELECT chunk, facet, bits FROM json_each(?) AS part CROSS JOIN facet_bits ON project = ?"
        " AND chunk = json_extract(part.value, '$[0]') AND facet = json_extract(part.value, '$[1]')",
        (dumps([*changed]).decode(), project),
    )
    old = {(row["chunk"], row["facet"]): int.from_bytes(row["bits"], "little") for row in stored}
    new = {place: old.get(place, 0) | bits if on else old.get(place, 0) & ~bits for place, bits in changed.items()}
    connection.executemany(
        "INSERT OR REPLACE INTO facet_bits (project, chunk, facet, bits) VALUES (?, ?, ?, ?)",
        [
            (project, *place, bits.to_bytes((bits.bit_length() + 7) // 8, "little"))
            for place, bits in sorted(new.items())
        ],
    )
    connection.executemany(
        "INSERT OR REPLACE INTO facet_chunks (project, chunk, version) VALUES (?, ?, random())",
        [(project, chunk) for chunk in {chunk for chunk, _ in changed}],
    )
    connection.executemany(
        f"UPDATE facets SET traces = traces {'+' if on else '-'} ? WHERE id = ?",
        [(count, facet) for facet, count in counts.items()],
    )


FACETS: Final = Derivation(name="facets", version=2, derive=facets_of, keep=_keep, forget=_forget, clear=_clear)
