"""`evaluate()` and its datasets, as programs call them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pandaprobe_otel import tool
from pandaprobe_otel.evals import Case, Judgement, Simulation, TaskRun, evaluate, goal_reached, load_cases
from span_recorder import recording
from subprocesses import environment, run_python


@tool
def double(value: int) -> int:
    """Return twice the value, as a tool."""
    return 2 * value


async def work(value: int) -> int:
    """Call the tool, as an asynchronous task."""
    if value == 3:
        raise RuntimeError("three")
    return double(value)


def calls_double(run: TaskRun) -> None:
    """Check the spans, as a scorer."""
    run.spans.tool("double").called(times=1).with_args(value=run.case.input)


def is_small(run: TaskRun) -> float:
    """Return a number, as a scorer."""
    return 1.0 if run.output < 8 else 0.25


async def looks_later(run: TaskRun) -> bool:
    """Wait before scoring, like a scorer that asks a model."""
    await asyncio.sleep(0)
    return bool(run.output == 2)


LOW = {"is_small": 0.5, "looks_later": 0.5}


def cannot(run: TaskRun) -> float:
    """Fail, as a scorer."""
    raise KeyError(run.case.id)


def test_offline_with_scorers_of_ones_own() -> None:
    """Cases run concurrently with a trace each; assertions and numbers decide; a failure concerns only its case."""
    with recording():
        report = evaluate(range(1, 7), work, metrics=[calls_double, is_small, looks_later], thresholds=LOW)
    assert [case.outcome for case in report.cases] == ["passed", *["failed"] * 5]
    assert [case.output for case in report.cases] == [2, 4, None, 8, 10, 12]
    assert report.cases[2].error == "RuntimeError: three"
    assert report.means["calls_double"] == 1.0
    assert [case.results[2].value for case in report.cases if case.output] == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert [len(case.traces) for case in report.cases] == [1] * 6
    names = [[span["name"] for span in case.traces[0]["spans"]] for case in report.cases]
    assert names == [["work", "double"]] * 2 + [["work"]] + [["work", "double"]] * 3
    with pytest.raises(AssertionError, match="1/6 passed"):
        report.assert_passed()


def too_much(run: TaskRun) -> Judgement:
    """Return a judgement beyond the scale, as a scorer."""
    return Judgement.scored(1.5)


def test_a_scorer_that_fails_is_no_verdict() -> None:
    """An exception in a scorer, and a number or a judgement outside of 0 to 1, are errors, not verdicts."""
    with recording():
        report = evaluate([1], work, metrics=[cannot, too_much, lambda run: 7])
    assert [result.finding for result in report.cases[0].results] == ["error"] * 3
    assert "KeyError: '1'" in str(report)
    assert "it returned 1.5, which is not between 0 and 1" in str(report)


class OddError(Exception):
    """An exception without a text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class OddAssertionError(OddError, AssertionError):
    """An assertion without a text."""


def test_no_exception_ends_the_evaluation_or_fills_the_report() -> None:
    """Exceptions without or with a long text, in a task, scorer, agent or simulated user, do not break the report."""

    def raising(error: Exception) -> Callable[[Any], Any]:
        def raises(given: Any) -> Any:
            raise error

        return raises

    def no_score(run: TaskRun) -> None:
        """Give no score, as a scorer."""

    for error in (OddError(), OddAssertionError(), ValueError("x" * 1_000_000)):
        fails = raising(error)
        with recording():
            reports = [
                evaluate(["q"], fails, [no_score]),
                evaluate(["q"], str, [fails]),
                evaluate([["hello"]], Simulation(fails), [goal_reached]),
                evaluate([{"input": fails}], Simulation(str), [goal_reached]),
            ]
        assert [report.passed for report in reports] == [False] * 4
        assert max(len(str(report)) for report in reports) < 30_000


@pytest.mark.parametrize(
    ("scorer", "words"),
    [
        (lambda: True, "takes no argument"),
        (lambda run, expected: True, "needs 'expected' as well"),
        (lambda *, run: True, "takes no argument"),
    ],
)
def test_a_scorer_that_cannot_be_called_is_refused(scorer: Any, words: str) -> None:
    """A scorer with a wrong signature is refused before anything runs, with the expected signature."""
    with pytest.raises(ValueError, match=f"{words}.*a scorer is called with one TaskRun"):
        evaluate([1], lambda value: pytest.fail("it ran"), metrics=[scorer])


@pytest.mark.parametrize("thresholds", [{"other": 0.5}, 1.5, {"is_small": -1}])
def test_thresholds_that_cannot_be_meant(thresholds: dict[str, float] | float) -> None:
    """An empty threshold or one out of range is refused before anything runs."""
    with pytest.raises(ValueError, match="threshold"):
        evaluate([1], work, metrics=[is_small], thresholds=thresholds)


def test_without_a_key_the_judge_cannot_be_called(tmp_path: Path) -> None:
    """A missing key is an error before the task runs."""
    code = """
    from pandaprobe_otel.evals import evaluate
    from pandaprobe_otel.errors import ConfigError
    try:
        evaluate(["x"], lambda value: print("ran"), "task_completion")
    except ConfigError as error:
        print(error)
    """
    done = run_python(code, {**environment(), "HOME": str(tmp_path)}, set_up=False)
    assert done.stdout.startswith("the judge cannot be called: no API key: set PANDAPROBE_API_KEY"), done.stderr


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
    ("name", "text", "words"),
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
def test_a_dataset_that_cannot_be_used(tmp_path: Path, name: str, text: str, words: str) -> None:
    """Each mistake in a dataset has its own message."""
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=words):
        load_cases(tmp_path / name)


def test_one_of_several_mappings_has_no_input() -> None:
    """A case without an input, among cases with one, is refused."""
    with pytest.raises(ValueError, match="case 2 has no 'input'; it has 'inptu'"):
        load_cases([{"input": 1}, {"inptu": 2}])


def test_a_missing_file(tmp_path: Path) -> None:
    """A missing file is an error; a path is not taken for an iterable."""
    missing: Any = tmp_path / "no.csv"
    with pytest.raises(ValueError, match="cannot be read"):
        load_cases(missing)
