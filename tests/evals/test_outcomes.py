"""For any combination of results, every output has the same outcome for each case and for the whole."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pandaprobe_otel.cli.exit_codes import exit_code_of_outcome
from pandaprobe_otel.evals import Report, TaskRun
from pandaprobe_otel.evals.dataset import Case
from pandaprobe_otel.evals.judging import Judgements
from pandaprobe_otel.evals.report import gated
from pandaprobe_otel.evals.report_blocks import comment, error_commands, report_page, report_text
from pandaprobe_otel.evals.suite import RecordedTest, outcome_reports
from pandaprobe_otel.evals.task_runs import case_result
from pandaprobe_otel.evals.verdicts import Demand, Finding, Judgement, Repetition

METRICS = ("m", "n")
YES, NO, EMPTY, PART, UNKNOWN = (
    Judgement(finding=Finding.SCORED, value=0.9),
    Judgement(finding=Finding.SCORED, value=0.1, reason="rude"),
    Judgement(finding=Finding.VACUOUS, value=1.0),
    Judgement(finding=Finding.SCORED, value=0.9, unfinished="cancelled"),
    Judgement(finding=Finding.ERROR, reason="the limit of evaluations"),
)
JUDGED = st.sampled_from([YES, NO, EMPTY, PART, UNKNOWN, None])
"""Possible judgements; None means that the judge was never asked."""
RUN = st.tuples(st.booleans(), st.tuples(*(JUDGED for _ in METRICS)))
"""The outcome of a run itself, and the judgements of its metrics."""
REPETITION = st.integers(1, 3).flatmap(
    lambda repeat: st.builds(Repetition, repeat=st.just(repeat), min_pass=st.sampled_from([0.0, 0.5, 1.0]))
)
TESTS = st.lists(
    st.tuples(REPETITION, st.booleans(), st.integers(0, len(METRICS)), st.lists(RUN, min_size=3, max_size=3)),
    max_size=3,
)
"""For each test: its repetitions, whether missing evidence passes, the number of metrics, and its runs."""


def wanted(runs: list[list[str]], needed: int) -> str:
    """Specify the outcome: passed with `needed` passed runs; no evidence if unjudged runs could make the difference."""
    flat = [found for (found,) in runs]
    if set(flat) <= {"no evidence"}:
        return "no evidence"
    if flat.count("passed") >= needed:
        return "passed"
    return "no evidence" if len(flat) - flat.count("failed") >= needed else "failed"


def of_judgement(judgement: Judgement | None, *, vacuous: bool) -> str:
    """Specify the outcome of one judgement."""
    if judgement is NO:
        return "failed"
    if judgement is YES or (vacuous and judgement in (EMPTY, PART)):
        return "passed"
    return "no evidence"


def worst(found: list[str]) -> str:
    """Return the worst outcome: failed is worse than no evidence, which is worse than passed."""
    return next(
        (outcome for outcome in ("failed", "no evidence") if outcome in found), "passed" if found else "no evidence"
    )


def agrees(report: Report, expected: Mapping[str, str], baseline: Report | None = None) -> None:
    """Check that all forms of a report agree with the expected outcomes of its cases and of the whole."""
    held = [] if baseline is None else [report.compare(baseline).outcome]
    report = report if baseline is None else report.against(baseline)
    assert {case.id: case.outcome for case in report.cases} == expected
    rate = wanted([[outcome] for outcome in expected.values()], math.ceil(report.pass_rate * len(expected) - 1e-9))
    whole = worst([rate, *([] if report.complete else ["no evidence"]), *held])
    assert report.outcome == whole
    assert report.passed == (whole == "passed")
    assert f"\n{whole}: " in str(report)
    tick = {"passed": "✔", "failed": "✘"}.get(whole, "?")
    for written in (comment(report, key="k", before=baseline), report.to_markdown()):
        assert f"### {tick} `{report.name}` {whole}\n" in written
    again = gated(report)
    assert (again if baseline is None else again.against(baseline)).outcome == whole
    page = report_page(report)
    assert re.findall(r"<h1>.*<span class=[a-z]+>([^<]*)</span></h1>", page) == [whole]
    folds = re.findall(r"<summary><span[^>]*>.</span> (c\d) <span class=[a-z]+>([^<]*)</span></summary>", page)
    assert folds == list(expected.items())
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain["outcome"] == whole
    assert {case["id"]: case["outcome"] for case in plain["cases"]} == expected
    read = Report.from_dict(plain)
    assert (read if baseline is None else read.against(baseline)).outcome == whole
    rows = dict(re.findall(r"^(c\d) +(passed|failed|no evidence)", str(report), re.MULTILINE))
    assert rows == expected
    screen = report_text(report, width=120)
    assert re.findall(r"^(?:✘|\?)  (c\d)  (.*)$", screen, re.MULTILINE) == [
        (name, outcome) for name, outcome in expected.items() if outcome != "passed"
    ]
    assert f"\n{whole}: " in screen
    assert ("%" in str(report.rate)) == bool(set(expected.values()) - {"no evidence"})
    for allowed in (False, True):
        code = {"passed": 0, "failed": 1, "no evidence": 0 if allowed else 6}[whole]
        assert exit_code_of_outcome(report.outcome, allow_no_evidence=allowed) == code
        reported = {
            re.sub(r".*%3A (c\d)::.*", r"\1", line)
            for line in error_commands(report, allow_no_evidence=allowed)
            if line.startswith("::error") and "%3A baseline::" not in line
        }
        assert reported == {
            name for name, outcome in expected.items() if outcome == "failed" or (outcome != "passed" and not allowed)
        }
        blamed = [line for line in error_commands(report, allow_no_evidence=allowed) if "%3A baseline::" in line]
        levels = {"failed": "::error", "no evidence": "::warning" if allowed else "::error"}
        assert [line.partition(" ")[0] for line in blamed] == [levels[one] for one in held if one != "passed"]


def runs_of(name: str, made: list[Any]) -> list[TaskRun]:
    """Return the runs of a case or test, which have one target each."""
    return [
        TaskRun(
            case=Case(id=name, input="q"),
            output="a",
            error=None if well else "it broke",
            seconds=1.0,
            trace_id=str(number),
            traces=(),
            targets=(str(number),) if well else (),
            number=number,
        )
        for number, (well, _) in enumerate(made, 1)
    ]


def judged(made: list[Any], metrics: tuple[str, ...]) -> Judgements:
    """Return the judgements of the runs' targets."""
    return {
        (str(number), metric): judgement
        for number, (_, judgements) in enumerate(made, 1)
        for metric, judgement in zip(metrics, judgements, strict=False)
        if judgement is not None
    }


@settings(max_examples=150)
@given(TESTS, st.sampled_from([0.0, 0.5, 1.0]))
def test_of_a_task(cases: list[Any], pass_rate: float) -> None:
    """Terminal, JSON, Markdown, HTML, annotations and exit codes agree, for `evaluate()` and `evals run`."""
    results, expected = [], {}
    for number, (repetition, vacuous, count, made) in enumerate(cases):
        metrics, made = METRICS[:count], made[: repetition.repeat]
        demand = Demand(metrics=dict.fromkeys(metrics, 0.5), allow_vacuous=vacuous, repetition=repetition)
        results.append(case_result(runs_of(f"c{number}", made), judged(made, metrics), demand))
        broken = [not well for well, _ in made]
        by_metric = [
            wanted(
                [
                    ["failed"] if lost else [of_judgement(judgements[n], vacuous=vacuous)]
                    for lost, (_, judgements) in zip(broken, made, strict=True)
                ],
                repetition.needed,
            )
            for n in range(count)
        ]
        expected[f"c{number}"] = "failed" if sum(broken) > repetition.repeat - repetition.needed else worst(by_metric)
    agrees(Report(name="shop", created_at="now", cases=tuple(results), pass_rate=pass_rate), expected)


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.sampled_from([0.9, 0.6, 0.1, None]), st.sampled_from([0.9, 0.6])), max_size=7), st.booleans()
)
@example([(0.6, 0.9)] * 7, True)
@example([(0.9, 0.9)] * 2, False)
def test_of_a_task_with_a_baseline(values: list[Any], in_common: bool) -> None:
    """A regression fails the whole even if every case passes; without common cases the whole is no evidence."""
    demand = Demand(metrics={"m": 0.5})

    def of(found: list[float | None], first: int) -> Report:
        results = []
        for number, value in enumerate(found, first):
            judgement = Judgement.error("the limit") if value is None else Judgement.scored(value)
            results.append(case_result(runs_of(f"c{number}", [(True, ())]), {("1", "m"): judgement}, demand))
        return Report(name="shop", created_at="now", cases=tuple(results))

    report = of([now for now, _ in values], 0)
    outcomes = {None: "no evidence", 0.1: "failed", 0.6: "passed", 0.9: "passed"}
    expected = {f"c{number}": outcomes[now] for number, (now, _) in enumerate(values)}
    agrees(report, expected, of([before for _, before in values], 0 if in_common else len(values)))


@settings(max_examples=150)
@given(TESTS, st.booleans(), st.booleans())
def test_of_a_suite(tests: list[Any], complete: bool, allowed: bool) -> None:
    """All outputs agree for a test suite, and pytest gets the same outcome for each test: passed, failed or error."""
    results, own, red = [], {}, {}
    for number, (repetition, vacuous, count, made) in enumerate(tests):
        name, metrics, made = f"c{number}", METRICS[:count], made[: repetition.repeat]
        demand = Demand(metrics=dict.fromkeys(metrics, 0.5), repetition=repetition, allow_vacuous=vacuous)
        runs = tuple(runs_of(name, made))
        place = ("test_it.py", number, name)
        test = RecordedTest(nodeid=name, location=place, order=number, recorded=1, demand=demand, runs=runs)
        results.append(test.result(judged(made, metrics)))
        own[name] = "passed" if sum(well for well, _ in made) >= repetition.needed else "failed"
        phases = [
            phase
            for result in results[-1].results
            if result.metric != "repeat"
            for phase in outcome_reports(test, result, allow_no_evidence=allowed)
            if phase.failed
        ]
        red[name] = worst([own[name], *("no evidence" if phase.when == "setup" else "failed" for phase in phases)])
    report = Report(name="suite", created_at="now", cases=tuple(results), complete=complete)
    expected = {case.id: worst([own[case.id], *(result.outcome for result in case.results)]) for case in report.cases}
    agrees(report, expected)
    assert all(red[name] == outcome or (allowed and outcome == "no evidence") for name, outcome in expected.items())
    places = dict.fromkeys(own, ("test_it.py", 0))
    lines = error_commands(report, places, allow_no_evidence=allowed)
    assert all(" file=test_it.py,line=1,title=suite%3A c" in line for line in lines)
    annotated = {re.sub(r".*%3A (c\d)::.*", r"\1", line) for line in lines if line.startswith("::error")}
    assert annotated == {name for name, outcome in red.items() if outcome != "passed"}
