"""Cases that run several times: the share of passed runs decides, and runs that cannot change it are omitted."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any

import pytest

from pandaprobe_otel.evals import TaskRun, evaluate
from pandaprobe_otel.evals.case_results import Rules, case_result
from pandaprobe_otel.evals.dataset import Case
from pandaprobe_otel.evals.judging import Finding, Judgement, Judgements
from pandaprobe_otel.evals.repetition import Repetition
from span_recorder import recording


class Scripted:
    """A task whose runs follow the case's text: "y" is a yes, "n" a no, "e" an error."""

    def __init__(self) -> None:
        self.runs: dict[str, Iterator[str]] = {}
        self.made: dict[str, int] = {}

    def __call__(self, script: str) -> str:
        found = next(self.runs.setdefault(script, iter(script)))
        self.made[script] = self.made.get(script, 0) + 1
        if found == "e":
            raise RuntimeError("it cannot")
        return found


def says_yes(run: TaskRun) -> bool:
    """Return whether the output is "y", as a scorer."""
    return bool(run.output == "y")


def test_stopping_early_never_changes_the_outcome() -> None:
    """For all sequences of four runs, the outcome is that of all runs, and no run is made after it is decided."""
    scripts = ["".join(found) for found in itertools.product("yne", repeat=4)]
    for min_pass in (0.0, 0.5, 0.75, 1.0):
        task, wanted = Scripted(), ceil(min_pass * 4)
        with recording():
            report = evaluate(scripts, task, [says_yes], repeat=4, min_pass=min_pass)
        for script, case in zip(scripts, report.cases, strict=True):
            assert case.passed == (script.count("y") >= wanted), (script, str(case))
            made = task.made[script]
            decided = next(
                n for n in range(1, 5) if script[:n].count("y") >= wanted or n - script[:n].count("y") > 4 - wanted
            )
            assert made == decided, script
            assert len(case.traces) == made
            assert (case.error is not None) == (script[:made].count("e") > 4 - wanted)


def test_the_rate_is_shown_with_its_interval() -> None:
    """A case has the mean of its runs, the output of a failed run, and the reason of the failure."""
    with recording():
        report = evaluate(["yyyny", "ene", "nyyyy"], Scripted(), [says_yes], repeat=5, min_pass=0.8)
    good, broken, late = report.cases
    assert (good.outcome, good.output, good.results[0].value) == ("passed", "n", 0.8)
    assert good.results[0].text.startswith("4/5 passed (80%, 95 % CI 38–96), 80% required, says_yes 1.00")
    assert (broken.outcome, broken.error) == ("failed", None)
    assert "0/2 passed (0%, 95 % CI 0–66), stopped early: 4 of 5 needed" in broken.results[0].text
    assert (late.outcome, len(late.traces)) == ("passed", 5)
    with recording():
        (failing,) = evaluate(["ee"], Scripted(), [says_yes], repeat=5, min_pass=0.8).cases
    assert (failing.outcome, failing.error) == ("failed", "2 of 2 runs: RuntimeError: it cannot")


def result(*verdicts: Judgement | None, min_pass: float) -> Any:
    """Return the result of judgements about the runs of a case; None is a run whose task failed."""
    runs = [
        TaskRun(
            case=Case(id="c", input="q"),
            output="a",
            error="no" if verdict is None else None,
            seconds=1.0,
            trace_id=str(number),
            traces=(),
            number=number,
        )
        for number, verdict in enumerate(verdicts, 1)
    ]
    found: Judgements = {(str(n), "m"): verdict for n, verdict in enumerate(verdicts, 1) if verdict is not None}
    rules = Rules(
        judged=["m"],
        thresholds={"m": 0.5},
        allow_vacuous=False,
        repetition=Repetition(repeat=len(verdicts), min_pass=min_pass),
    )
    return case_result(runs, found, rules)


YES = Judgement(finding=Finding.SCORED, value=0.9)
NO = Judgement(finding=Finding.SCORED, value=0.1, reason="rude")
VACUOUS = Judgement(finding=Finding.VACUOUS, value=1.0, reason="no tool")
UNKNOWN = Judgement(finding=Finding.ERROR, reason="the provider is on strike")


@pytest.mark.parametrize(
    ("verdicts", "outcome", "finding", "value"),
    [
        ((YES, YES, NO, YES), "passed", "scored", 0.7),
        ((YES, NO, NO, YES), "failed", "scored", 0.5),
        ((YES, UNKNOWN, YES, YES), "passed", "scored", 0.9),
        ((YES, UNKNOWN, UNKNOWN, YES), "no evidence", "error", 0.9),
        ((UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN), "no evidence", "error", None),
        ((NO, NO, UNKNOWN, YES), "failed", "scored", (0.1 + 0.1 + 0.9) / 3),
        ((YES, VACUOUS, VACUOUS, YES), "no evidence", "vacuous", 0.9),
        ((YES, None, YES, YES), "passed", "scored", 0.9),
        ((YES, None, NO, YES), "failed", "scored", (0.9 + 0.1 + 0.9) / 3),
    ],
)
def test_judgements_about_runs(
    verdicts: Sequence[Judgement | None], outcome: str, finding: str, value: float | None
) -> None:
    """Three of four runs must pass; missing judgements mean "no evidence" only if they could change the outcome."""
    case = result(*verdicts, min_pass=0.75)
    (found,) = case.results
    assert (case.outcome, found.finding) == (outcome, finding)
    assert found.value == (None if value is None else pytest.approx(value))


def test_a_run_that_the_judge_may_reject_is_never_the_last() -> None:
    """With a judge, passed scorers do not stop the repetition, but failed ones do."""
    rules = Rules(
        judged=["m"],
        thresholds={"m": 0.5, "s": 0.5},
        allow_vacuous=False,
        repetition=Repetition(repeat=3, min_pass=0.3),
    )
    run = TaskRun(case=Case(id="c", input="q"), output="a", error=None, seconds=1.0, trace_id="1", traces=())
    good = TaskRun(case=run.case, output="a", error=None, seconds=1.0, trace_id="1", traces=(), judgements={"s": YES})
    bad = TaskRun(case=run.case, output="a", error=None, seconds=1.0, trace_id="1", traces=(), judgements={"s": NO})
    assert not rules.settled([good, good])
    assert rules.settled([bad, bad, bad])


@pytest.mark.parametrize(
    "wrong", [{"repeat": 0}, {"repeat": 1.5}, {"min_pass": 80}, {"concurrency": 0}, {"confirm": True}]
)
def test_numbers_that_cannot_be_meant(wrong: dict[str, Any]) -> None:
    """Invalid numbers are refused before anything runs."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        evaluate(["x"], lambda value: pytest.fail("it ran"), [says_yes], **wrong)
