"""Cases of an evaluation, from a list, a JSONL file or a CSV file."""

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
    """One input for the task, with its expected output and metadata. `id` identifies the case in other reports."""

    id: str
    input: Any
    expected: Any = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])


def load_cases(dataset: Dataset) -> tuple[Case, ...]:
    """Return the cases of a dataset.

    dataset: the path of a `.jsonl` or `.csv` file, or an iterable of `Case`s, mappings or plain inputs.

    A mapping (a line or row) with the key `input` is a case. It may have `id` and `expected` (or `expected_output`,
    `reference`); all other keys are metadata. Any other value is an input. If no mapping of an iterable has the key
    `input`, the mappings themselves are inputs. Cases without an id get their number as id.

    Raises ValueError for an unreadable file, for a mapping without `input` in a file or among mappings with `input`,
    for duplicate ids, and for an empty dataset.
    """
    is_file = isinstance(dataset, str | PathLike)
    items = read_items(dataset)
    _check_inputs(items, wanted=is_file or any(isinstance(item, Mapping) and "input" in item for item in items))
    cases = tuple(_case(number, item) for number, item in enumerate(items, 1))
    if not cases:
        raise ValueError("the dataset has no cases: add a line with the key 'input'")
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            raise ValueError(f"the id {case.id!r} occurs twice in the dataset")
        seen.add(case.id)
    return cases


def read_items(dataset: Dataset) -> list[Any]:
    """Return the items of a dataset unchanged. Raises ValueError for an unreadable file."""
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
    # Not `splitlines`: JSON strings may contain characters that it treats as line ends.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                items.append(json.loads(line))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}, is not JSON: {error}") from None
    return items
