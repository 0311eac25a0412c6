"""The cases of an evaluation: from a list, a JSONL file or a CSV file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Final, cast

Dataset = str | PathLike[str] | Iterable[Any]

_EXPECTED: Final = ("expected", "expected_output", "reference")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One input for the task, with its expected output and metadata. `id` finds the case again in another report."""

    id: str
    input: Any
    expected: Any = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])


def load_cases(dataset: Dataset) -> tuple[Case, ...]:
    """Return the cases of a dataset.

    dataset: the path of a `.jsonl` or `.csv` file, or an iterable of `Case`s, mappings or plain inputs.

    A mapping (a line, a row) with the key `input` is a case: `id`, `input`, `expected` (or `expected_output`,
    `reference`), and the rest is metadata. Any other value is the input itself, and so are the mappings of an iterable
    of which none has that key. Cases without an id get their number.

    Raises ValueError for a file that cannot be read so, for a mapping without `input` in a file or beside others that
    have one, for ids that occur twice, and for no cases at all.
    """
    is_file = isinstance(dataset, str | PathLike)
    items = read_items(dataset)
    _check_inputs(items, wanted=is_file or any(isinstance(item, Mapping) and "input" in item for item in items))
    cases = tuple(_case(number, item) for number, item in enumerate(items, 1))
    if not cases:
        raise ValueError("the dataset has no cases")
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            raise ValueError(f"the id {case.id!r} occurs twice in the dataset")
        seen.add(case.id)
    return cases


def read_items(dataset: Dataset) -> list[Any]:
    """Return the items of a dataset, unchanged. Raises ValueError for a file that cannot be read."""
    return _read(Path(dataset)) if isinstance(dataset, str | PathLike) else list(dataset)


def _check_inputs(items: Iterable[Any], *, wanted: bool) -> None:
    for number, item in enumerate(items, 1):
        if wanted and isinstance(item, Mapping) and "input" not in item:
            keys = ", ".join(repr(key) for key in cast("Mapping[str, Any]", item))
            raise ValueError(f"case {number} has no 'input'; it has {keys or 'nothing'}")


def _case(number: int, item: Any) -> Case:
    if isinstance(item, Case):
        return item
    if not isinstance(item, Mapping) or "input" not in item:
        return Case(id=str(number), input=item)
    fields = dict(cast("Mapping[str, Any]", item))
    name = fields.pop("id", None)
    expected = next((fields.pop(key) for key in _EXPECTED if key in fields), None)
    return Case(
        id=str(number if name in (None, "") else name), input=fields.pop("input"), expected=expected, metadata=fields
    )


def _read(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the dataset {path} cannot be read: {error}") from None
    if path.suffix == ".csv":
        return list(csv.DictReader(io.StringIO(text, newline="")))
    if path.suffix not in (".jsonl", ".ndjson"):
        raise ValueError(f"the dataset {path} is neither .jsonl nor .csv")
    items: list[Any] = []
    # Not `splitlines`: JSON strings may contain what Unicode counts as an end of line.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                items.append(json.loads(line))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}, is not JSON: {error}") from None
    return items
