"""Datasets: lists, JSONL and CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pandaprobe_otel.evals import Case, load_cases


def test_plain_values_are_inputs() -> None:
    """Values without a key `input` are inputs, and their ids are numbers."""
    cases = load_cases(["a", {"q": 1}, Case(id="mine", input=3)])
    assert [(case.id, case.input) for case in cases] == [("1", "a"), ("2", {"q": 1}), ("mine", 3)]


@pytest.mark.parametrize("key", ["expected", "expected_output", "reference"])
def test_a_line_of_jsonl_is_a_case(tmp_path: Path, key: str) -> None:
    """Id, input and expected output are read; other keys are metadata; empty lines are skipped."""
    file = tmp_path / "cases.jsonl"
    file.write_text(
        f'{{"id": 7, "input": {{"q": "ä"}}, "{key}": "x", "level": 2}}\n\n{{"input": "b"}}\n', encoding="utf-8"
    )
    first, second = load_cases(file)
    assert (first.id, first.input, first.expected, first.metadata) == ("7", {"q": "ä"}, "x", {"level": 2})
    assert (second.id, second.input, second.expected) == ("2", "b", None)


def test_a_row_of_csv_is_a_case(tmp_path: Path) -> None:
    """CSV files may have line breaks in quotes, and the byte order mark of spreadsheets."""
    file = tmp_path / "cases.csv"
    file.write_bytes('\ufeffid,input,expected\r\na,"two\nlines",yes\r\n'.encode())
    (case,) = load_cases(str(file))
    assert (case.id, case.input.split(), case.expected) == ("a", ["two", "lines"], "yes")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("x.jsonl", '{"input": 1}\n{oops', "line 2, is not JSON"),
        ("x.jsonl", "", "has no cases"),
        ("x.txt", "a", "neither .jsonl nor .csv"),
        ("x.csv", "id,input\na,1\na,2\n", "'a' occurs twice"),
        ("x.jsonl", '{"q": 1}', "case 1 has no 'input'; it has 'q'"),
        ("x.jsonl", '"a"\n{"Input": 1, "id": 2}', "case 2 has no 'input'; it has 'Input', 'id'"),
        ("x.csv", "question,expected\na,1\n", "case 1 has no 'input'; it has 'question', 'expected'"),
    ],
)
def test_a_dataset_that_cannot_be_used_says_why(tmp_path: Path, name: str, text: str, said: str) -> None:
    """Each mistake in a dataset has its own message."""
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=said):
        load_cases(tmp_path / name)


def test_one_of_several_mappings_has_no_input() -> None:
    """A case without an input, among cases with one, is refused."""
    with pytest.raises(ValueError, match="case 2 has no 'input'; it has 'inptu'"):
        load_cases([{"input": 1}, {"inptu": 2}])


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """A missing file is an error; a path is not taken for an iterable."""
    missing: Any = tmp_path / "no.csv"
    with pytest.raises(ValueError, match="cannot be read"):
        load_cases(missing)
