"""Many traces at once: groups that failed in the same way and become one test, and rows of a dataset."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from pandaprobe_otel.evals.dataset import read_items
from pandaprobe_otel.failures.find import find_failures
from pandaprobe_otel.replay.capture.findings import Finding, findings
from pandaprobe_otel.replay.capture.stored_trace import StoredTrace

Scores = Mapping[str, Sequence[Mapping[str, Any]]]
"""Latest scores of traces by trace id, in the form of the API."""

_NO_SCORES: Final[Scores] = MappingProxyType({})
_IN_FAILURES: Final = frozenset({"exception", "given out cut"})
"""Kinds of findings that the failures of a trace cover too."""


def alike(traces: Iterable[StoredTrace], scores: Scores = _NO_SCORES) -> list[list[StoredTrace]]:
    """Return traces in groups with the same program, the same failure fingerprints and the same kinds of findings."""
    groups: dict[tuple[str, ...], list[StoredTrace]] = {}
    for trace in traces:
        groups.setdefault(_likeness(trace, scores), []).append(trace)
    return list(groups.values())


def _likeness(trace: StoredTrace, scores: Scores) -> tuple[str, ...]:
    failed = find_failures(trace.body, scores.get(trace.trace_id, ()))
    marks = {one.fingerprint for one in failed if not one.recovered}
    # Deviations of the program from the model's requests, which only a test that runs the program can check.
    marks |= {f"{one.kind}: {_subject(one)}" for one in findings(trace) if one.kind not in _IN_FAILURES}
    return (trace.root.name, *(sorted(marks) or _tools(trace)))


def _tools(trace: StoredTrace) -> Iterable[str]:
    return dict.fromkeys(span.name for span in trace.spans if span.kind == "TOOL")


def _subject(finding: Finding) -> str:
    """Return the subject of a finding, without the values of this trace."""
    before, found, _ = finding.asserts.partition(".with_args")
    return re.sub(r"\d+", "…", before if found else re.sub(r"lambda span:.*", "", before))


def add_rows(file: Path, traces: Iterable[StoredTrace]) -> int:
    """Append a line for each trace that a dataset does not have yet; return the number of added lines.

    Raises ValueError for an invalid dataset, and OSError if it cannot be written.
    """
    if file.suffix not in (".jsonl", ".ndjson"):
        raise ValueError(f"the dataset {file} is not .jsonl: rows cannot be added to it")
    known = {_id_of(item) for item in read_items(file)} if file.exists() else set[str]()
    rows = [row for row in map(row_of, traces) if row["id"] not in known]
    with file.open("a", encoding="utf-8") as lines:
        for row in rows:
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
    return len(rows)


def row_of(trace: StoredTrace) -> dict[str, Any]:
    """Return the case of a trace: its input, its source, and its failures."""
    wrong = [one.told for one in findings(trace)]
    return {"id": trace.trace_id, "input": trace.root.input, **({"went_wrong": wrong} if wrong else {})}


def _id_of(item: Any) -> str:
    return str(item.get("id")) if isinstance(item, dict) else ""  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
