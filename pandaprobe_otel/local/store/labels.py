"""Labels of traces: properties that they share, such as a model, a tool or a tag; for searches, facets and figures.

A trace's labels are written in the transaction that changes the trace.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pandaprobe_otel.local.payloads import dumps, loads
from pandaprobe_otel.local.search.language import FLAGS, search_for
from pandaprobe_otel.local.search.searchable_fields import FIELDS

KINDS: Final = {"TOOL": "tool", "AGENT": "agent", "RETRIEVER": "retriever"}
ERROR: Final = ("", "error")
LONGEST: Final = 1000
"""Characters of a value that are kept and compared."""
LONGEST_ERROR_TYPE: Final = 80
ERROR_TYPES: Final = ("error_type", "exception_type")
"""Metadata of a span with the type of its error."""
SHOWN_KEYS: Final = (
    "status", "name", "model", "tool", "failed", "error_type", "agent", "retriever", "env", "release", "tag",
)  # fmt: skip
COUNTED: Final = 10_000
"""Number of the newest traces of a list in which facets are counted."""
MOST_SHOWN: Final = 6
MOST_PROPOSED: Final = 20
_LONGEST_SHOWN: Final = 200
_PART: Final = re.compile(r'(-?)([A-Za-z_][\w.]*)(:(?:[^"\s]*,)?)"?([^"]*)', re.ASCII)

SCHEMA: Final = """
    CREATE TABLE labels (
        id INTEGER PRIMARY KEY,
        project_id TEXT NOT NULL REFERENCES projects(id) ON DELETE CASCADE,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        traces INTEGER NOT NULL DEFAULT 0,
        UNIQUE (project_id, key, value)
    );
    CREATE TABLE trace_labels (
        label INTEGER NOT NULL,
        seq INTEGER NOT NULL REFERENCES traces(seq) ON DELETE CASCADE,
        PRIMARY KEY (label, seq)
    ) WITHOUT ROWID;
    CREATE INDEX trace_labels_by_trace ON trace_labels (seq);
    CREATE TRIGGER label_of_trace AFTER INSERT ON trace_labels BEGIN
        UPDATE labels SET traces = traces + 1 WHERE id = new.label;
    END;
    CREATE TRIGGER label_of_no_trace AFTER DELETE ON trace_labels BEGIN
        UPDATE labels SET traces = traces - 1 WHERE id = old.label;
        DELETE FROM labels WHERE id = old.label AND traces = 0;
    END;
"""


@dataclass(frozen=True, slots=True)
class Facet:
    """A value of a key, the number of traces in a list that have it, and the search for it."""

    value: str
    count: int
    search: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """A completion of a search term. `count` is the number of traces that it finds, if known."""

    text: str
    meaning: str
    count: int | None = None


def label(connection: sqlite3.Connection, seq: int) -> None:
    """Give a trace the labels of its present state, inside the caller's transaction."""
    row = connection.execute(
        "SELECT project_id, status, name, environment, release, tags, metadata FROM traces WHERE seq = ?", (seq,)
    ).fetchone()
    spans = connection.execute(
        "SELECT kind, name, model, error, status, CASE WHEN error IS NOT NULL THEN metadata END AS metadata FROM spans"
        " WHERE trace_seq = ?",
        (seq,),
    )
    wanted = dumps(sorted({(key, value[:LONGEST]) for key, value in _labels(row, spans)})).decode()
    project_id = row["project_id"]
    connection.execute(
        "INSERT OR IGNORE INTO labels (project_id, key, value)"
        " SELECT ?, json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)",
        (project_id, wanted),
    )
    of_trace = (
        "SELECT labels.id FROM json_each(?) AS wanted CROSS JOIN labels ON project_id = ?"
        " AND labels.key = json_extract(wanted.value, '$[0]') AND labels.value = json_extract(wanted.value, '$[1]')"
    )
    connection.execute(
        f"DELETE FROM trace_labels WHERE seq = ? AND label NOT IN ({of_trace})", (seq, wanted, project_id)
    )
    connection.execute(f"INSERT OR IGNORE INTO trace_labels SELECT id, ? FROM ({of_trace})", (seq, wanted, project_id))


def facets(connection: sqlite3.Connection, counts: Mapping[int, int]) -> dict[str, list[Facet]]:
    """Return the most frequent values of each key, by the number of traces with each label."""
    rows = connection.execute(
        "SELECT id, key, value FROM labels WHERE id IN (SELECT value FROM json_each(?))"
        " AND key IN (SELECT value FROM json_each(?)) AND length(value) <= ?",
        (dumps([*counts]).decode(), dumps(SHOWN_KEYS).decode(), _LONGEST_SHOWN),
    )
    found: dict[str, list[Facet]] = {key: [] for key in SHOWN_KEYS}
    for row in sorted(rows, key=lambda row: (-counts[row["id"]], row["value"])):
        if len(of_key := found[row["key"]]) < MOST_SHOWN:
            of_key.append(Facet(row["value"], counts[row["id"]], search_for(row["key"], row["value"])))
    return {key: values for key, values in found.items() if values}


def proposals(connection: sqlite3.Connection, project_id: str, term: str) -> Sequence[Proposal]:
    """Return the completions of a term that a user types: names of fields, or values of one."""
    part = _PART.fullmatch(term)
    if part is None:
        return [one for one in _keys(connection, project_id, term) if one.text != term][:MOST_PROPOSED]
    minus, key, before, begun = part.groups()
    rows = connection.execute(
        "SELECT value, traces FROM labels WHERE project_id = ? AND key = ? AND length(value) <= ?"
        " AND instr(lower(value), lower(?)) = 1 ORDER BY traces DESC, value LIMIT ?",
        (project_id, key if key.startswith("meta.") else key.lower(), _LONGEST_SHOWN, begun, MOST_PROPOSED),
    )
    return [
        Proposal(f"{minus}{key}{before}{search_for('', row['value']).removeprefix(':')}", row["value"], row["traces"])
        for row in rows
        if row["value"] != begun
    ]


def error_type(error: str, metadata: Mapping[str, Any]) -> str:
    """Return the type of an error: that of the metadata, else the beginning of the text, up to its first colon."""
    named = (metadata.get(key) for key in ERROR_TYPES)
    found = next((kind for kind in named if isinstance(kind, str) and kind), error.partition(":")[0])
    return found[:LONGEST_ERROR_TYPE]


def _labels(row: sqlite3.Row, spans: Iterable[sqlite3.Row]) -> Iterator[tuple[str, str]]:
    for key, column in (("status", "status"), ("name", "name"), ("env", "environment"), ("release", "release")):
        if row[column] is not None:
            yield key, row[column]
    yield from (("tag", tag) for tag in loads(row["tags"]))
    for key, value in loads(row["metadata"]).items():
        if value is not None:
            yield f"meta.{key}", _text(value)
    failed = row["status"] == "ERROR"
    for span in spans:
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


def _text(value: Any) -> str:
    """Return a metadata value as a search writes it."""
    if isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, int) else dumps(value).decode()


def _keys(connection: sqlite3.Connection, project_id: str, term: str) -> list[Proposal]:
    minus, begun = ("-", term[1:]) if term.startswith("-") else ("", term)
    fields = [
        Proposal(f"{minus}{field.key}{'>' if field.kind.is_ordered else ':'}", f"{field.meaning}, {field.example}")
        for field in FIELDS.values()
        if field.key not in ("meta", "score")
    ]
    flags = [Proposal(f"{minus}{flag}", f"traces: {flag}") for flag in FLAGS]
    rows = connection.execute(
        "SELECT DISTINCT key FROM labels WHERE project_id = ? AND key BETWEEN 'meta.' AND 'meta/'", (project_id,)
    )
    metadata = [Proposal(f"{minus}{row['key']}:", "a value of the trace's metadata") for row in rows]
    score = [Proposal(f"{minus}score:", "the latest score of a name, score:task_completion<0.5")]
    return [one for one in (*fields, *flags, *metadata, *score) if one.text.startswith(minus + begun.lower())]
