"""Facets beside a list: the values in its traces, and the completions of a search."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pandaprobe_otel.local.sealing.facet_sets import FacetSets
from pandaprobe_otel.local.search.bit_search import Found
from pandaprobe_otel.local.search.language import FLAGS, search_for
from pandaprobe_otel.local.search.searchable_fields import FIELDS

SHOWN_KEYS: Final = (
    "status", "name", "model", "tool", "failed", "error_type", "agent", "retriever", "env", "release", "tag",
)  # fmt: skip
MOST_COUNTED: Final = 40
MOST_SHOWN: Final = 6
MOST_PROPOSED: Final = 20
_PART: Final = re.compile(r'(-?)([A-Za-z_][\w.]*)(:(?:[^"\s]*,)?)"?([^"]*)', re.ASCII)


@dataclass(frozen=True, slots=True)
class FacetCount:
    """A value of a facet, the number of traces in a list that have it, and the search for it."""

    value: str
    count: int
    search: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """A completion of a search term. `count` is the number of traces that it finds, if known."""

    text: str
    meaning: str
    count: int | None = None


def facet_counts(found: Found) -> dict[str, list[FacetCount]]:
    """Return the most frequent values of each facet among found traces that are in the index."""
    sets = found.sets
    values = sets.values(SHOWN_KEYS, most=MOST_COUNTED)
    bits = sets.load(value.id for value in values)
    counted: dict[str, list[FacetCount]] = {}
    for value in values:
        if count := (bits[value.id] & found.indexed).bit_count():
            counted.setdefault(value.key, []).append(FacetCount(value.value, count, search_for(value.key, value.value)))
    return {
        key: sorted(counted[key], key=lambda facet: (-facet.count, facet.value))[:MOST_SHOWN]
        for key in SHOWN_KEYS
        if key in counted
    }


def proposals(connection: sqlite3.Connection, project_id: str, term: str) -> Sequence[Proposal]:
    """Return the completions of a term that a user types: names of fields, or values of one."""
    sets = FacetSets(connection, project_id)
    part = _PART.fullmatch(term)
    if part is None:
        return [one for one in _keys(sets, term) if one.text != term][:MOST_PROPOSED]
    minus, key, before, begun = part.groups()
    values = sets.beginning(key.lower() if not key.startswith("meta.") else key, begun, most=MOST_PROPOSED)
    return [
        Proposal(f"{minus}{key}{before}{search_for('', value.value).removeprefix(':')}", value.value, value.traces)
        for value in values
        if value.value != begun
    ]


def _keys(sets: FacetSets, term: str) -> list[Proposal]:
    minus, begun = ("-", term[1:]) if term.startswith("-") else ("", term)
    fields = [
        Proposal(f"{minus}{field.key}{'>' if field.kind.is_ordered else ':'}", f"{field.meaning}, {field.example}")
        for field in FIELDS.values()
        if field.key not in ("meta", "score")
    ]
    flags = [Proposal(f"{minus}{flag}", f"traces: {flag}") for flag in FLAGS]
    metadata = [Proposal(f"{minus}{key}:", "a value of the trace's metadata") for key in sets.metadata_keys()]
    score = [Proposal(f"{minus}score:", "the latest score of a name, score:task_completion<0.5")]
    return [one for one in (*fields, *flags, *metadata, *score) if one.text.startswith(minus + begun.lower())]
