"""Rows of a dataset for `evaluate()`, from the inputs of a program."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pandaprobe_otel.evals.dataset import read_items
from pandaprobe_otel.replay.capture.findings import findings
from pandaprobe_otel.replay.capture.stored_trace import StoredTrace


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
