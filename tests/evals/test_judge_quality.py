"""The quality of a judge: its agreement with labels, with a confidence interval."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pandaprobe_otel.evals import LocalJudge, TaskRun, measure_judge
from pandaprobe_otel.evals.judge_quality import agreement
from provider_server import ProviderServer, Received, Reply, completion
from suites import RunCommand


def verdicts(both_yes: int, false_no: int, false_yes: int, both_no: int) -> list[tuple[bool, bool]]:
    """Return labels and answers, with the given number of each combination."""
    pairs, counts = itertools.product((True, False), (True, False)), (both_yes, false_no, false_yes, both_no)
    return [pair for pair, count in zip(pairs, counts, strict=True) for _ in range(count)]


@pytest.mark.parametrize(
    ("cells", "kappa"),
    [
        ((20, 5, 10, 15), 0.4),
        ((10, 0, 0, 10), 1.0),
        ((0, 10, 10, 0), -1.0),
        ((9, 9, 1, 1), 0.0),
        ((45, 15, 25, 15), 0.1304),
    ],
)
def test_kappa_of_known_tables(cells: tuple[int, int, int, int], kappa: float) -> None:
    """Kappa equals the textbooks' values and lies in its interval, which is always the same."""
    found = agreement(verdicts(*cells))
    assert found.kappa is not None
    assert found.kappa == pytest.approx(kappa, abs=1e-4)
    assert found.low <= found.kappa <= found.high
    assert found == agreement(verdicts(*cells))


def test_the_interval_of_few_cases_holds_what_it_promises() -> None:
    """Of 80 intervals from samples of 25 cases, at least 72 contain the true kappa."""
    shares, truth = (0.4, 0.1, 0.1, 0.4), 0.6
    kinds = [*itertools.product((True, False), (True, False))]
    drawn = random.Random(7)
    found = [agreement(drawn.choices(kinds, shares, k=25)) for _ in range(80)]
    assert sum(one.low <= truth <= one.high for one in found) >= 72


def test_agreement_on_few_cases_is_no_proof() -> None:
    """Few cases give a wide interval, and the number of cases needed; with this number the interval is narrow."""
    few, many = agreement(verdicts(2, 0, 0, 2)), agreement(verdicts(60, 2, 3, 55))
    assert few.low < 0.5
    assert few.lack == "too few cases: 2 with the label yes; each label needs at least 5"
    assert many.lack is None
    some = agreement(verdicts(8, 2, 2, 8))
    assert some.lack is not None
    assert some.lack.startswith("too few cases: with 20, kappa is between ")
    enough = int(some.lack.partition("about ")[2].split()[0])
    narrow = agreement([*verdicts(8, 2, 2, 8)] * (enough // 20))
    assert [agreement(verdicts(20, 0, 0, 0)).kappa, agreement([]).kappa] == [None, None]
    assert (agreement([]).low, agreement([]).high) == (-1.0, 1.0)
    assert narrow.high - narrow.low == pytest.approx(0.2, abs=0.06)


# -- labels -----------------------------------------------------------------------------------------------------------


def measured(*items: Any) -> Any:
    """Return the agreement of a judge that says yes to cases with these labels, after a good case."""
    (found,) = measure_judge([{"output": "x", "label": item} for item in items], [m])
    return found


def m(run: TaskRun) -> float:
    """Say yes, as a scorer."""
    return 1.0


def test_labels_in_many_forms() -> None:
    """Labels may be words, numbers, or objects with a label for each metric, also as JSON in a CSV file."""
    yes = (True, "yes", "Pass", 1, "1", 0.5, "0.9", {"m": "good"}, '{"m": true}')
    no = (False, "no", "fail", 0, "0", 0.4, {"m": False})
    found = measured(*yes, *no, None, "", {"other": True}).agreement
    assert (found.both_yes, found.false_yes, found.cases) == (len(yes), len(no), len(yes) + len(no))


TIMES = {"started_at": "2026-01-01T00:00:00Z", "ended_at": "2026-01-01T00:00:02Z"}


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"output": "x", "label": 5}, "the label 5 of case 2 is not between 0 and 1"),
        ({"output": "x", "label": "nan"}, "the label 'nan' of case 2 is not between 0 and 1"),
        ({"output": "x", "label": "perhaps"}, "the label 'perhaps' of case 2 is neither a number nor one of true, yes"),
        ({"output": "x", "label": '{"m": '}, "case 2 cannot be read: "),
        ({"trace": "no JSON", "label": True}, "case 2 cannot be read: "),
        ({"trace": {"spans": [{"name": "without a time"}]}, "label": True}, "case 2 cannot be read: "),
        ({"output": "x"}, "case 2 needs 'label' and either 'input' with 'output', or 'trace'"),
        ({"input": "x", "label": True}, "case 2 needs"),
    ],
)
def test_a_case_that_cannot_be_used_is_refused(item: dict[str, Any], words: str) -> None:
    """The error names the number of a case that cannot be read, such as one with grades, before a judge is paid."""
    with pytest.raises(ValueError, match=words):
        measure_judge([{"output": "x", "label": True}, item], [lambda run: pytest.fail("it was asked")])


def test_a_trace_is_a_case_also_if_it_is_labelled_twice(endpoint: ProviderServer) -> None:
    """A trace in the form of the API is a case; two labels for one trace, by two people, are two cases."""
    span = {"span_id": "1", "name": "look_up", "kind": "TOOL", "input": {}, **TIMES}
    body = {"trace_id": "t", "name": "n", "input": "1 0.9", "output": "a", "spans": [span], **TIMES}
    dataset = [{"trace": body, "label": label, "lang": "de"} for label in (True, False)]

    def is_whole(run: TaskRun) -> bool:
        run.spans.tool("look_up").called(times=1)
        return (run.case.input, run.output, run.seconds, run.case.metadata) == ("1 0.9", "a", 2.0, {"lang": "de"})

    lines, judge = list[str](), LocalJudge("m", url=endpoint.url)
    found, whole = measure_judge(dataset, ["task_completion", is_whole], judge=judge, say=lines.append)
    assert lines[0] == "2 cases × 1 metric = 2 evaluations"
    assert [(one.id, one.label, one.value) for one in found.answers] == [("1", True, 0.9), ("2", False, 0.9)]
    assert [one.value for one in whole.answers] == [1.0, 1.0]


# -- judges -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def endpoint(endpoint: ProviderServer) -> ProviderServer:
    """Return a judge that reads its score from the case's input."""

    def judged(request: Received) -> Reply:
        given = json.loads(request.json["messages"][0]["content"].partition("<trace>")[2].partition("</trace>")[0])
        if "down" in str(given["input"]):
            return Reply(status=401, chunks=(b"no key",))
        return completion({"reason": "seen", "score": float(given["input"].split()[1]), "task": "t", "outcome": "o"})

    endpoint.script = judged
    return endpoint


def cases(*kinds: tuple[int, bool, str]) -> list[dict[str, Any]]:
    """Return cases of several kinds, each with a number, a label and the judge's score."""
    made = [(label, score) for number, label, score in kinds for _ in range(number)]
    return [{"input": f"{n} {score}", "output": "o", "label": label} for n, (label, score) in enumerate(made)]


@pytest.mark.parametrize(("silent", "outcome"), [(0, "passed"), (1, "no evidence")])
def test_a_missing_answer_is_no_evidence(silent: int, outcome: str) -> None:
    """With a required kappa, each case needs an answer."""
    answered = [{"output": label, "label": label} for label in (True, False) for _ in range(45)]
    silence = [{"output": "silence", "label": True} for _ in range(silent)]

    def opinion(run: TaskRun) -> float:
        return float(run.output)

    (found,) = measure_judge([*answered, *silence], [opinion], min_kappa=0.6)
    assert (found.outcome, len(found.unanswered)) == (outcome, silent)


def test_invalid_settings_are_refused_before_a_judge_runs(endpoint: ProviderServer) -> None:
    """Invalid settings are refused before a judge is asked; an unanswered case is listed with the reason."""
    dataset = [*cases((1, True, "0.9")), {"id": "d", "input": "down", "output": "o", "label": True}]
    judge = LocalJudge("m", url=endpoint.url)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"metrics": "task_completion"}, "task_completion needs a judge"),
        ({"metrics": "task_complete", "judge": judge}, "task_complete is not a metric of traces"),
        ({"metrics": "confidence", "judge": judge, "max_evaluations": 1}, "2 evaluations, but"),
        ({"metrics": (), "judge": judge}, "no metric to measure"),
    ]
    for arguments, words in wrong:
        with pytest.raises(ValueError, match=words):
            measure_judge(dataset, **arguments)
    assert endpoint.received == []
    (found,) = measure_judge(dataset, "task_completion", judge=judge)
    assert list(found.unanswered) == ["d"]
    assert "HTTP 401" in found.unanswered["d"]
    assert (found.agreement.cases, found.outcome) == (1, "no evidence")


def write(path: Path, items: Iterable[Any]) -> None:
    """Write a dataset."""
    path.write_text("\n".join(json.dumps(item) for item in items), encoding="utf-8")


@pytest.mark.parametrize(
    ("numbers", "options", "code", "words"),
    [
        ((40, 2, 40), ("--min-kappa", "0.6"), 0, "kappa      0.95, 95 % CI 0."),
        ((40, 38, 40), ("--min-kappa", "0.9"), 1, "task_completion: failed\n"),
        ((12, 1, 12), ("--min-kappa", "0.8"), 6, "task_completion: no evidence\n"),
        ((3, 0, 3), ("--allow-no-evidence",), 0, "too few cases: 3 with the label yes"),
    ],
)
def test_the_command(
    endpoint: ProviderServer,
    run_command: RunCommand,
    tmp_path: Path,
    numbers: tuple[int, int, int],
    options: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    """The exit code follows from the confidence interval."""
    good, wrong, bad = numbers
    write(tmp_path / "labelled.jsonl", cases((good, True, "0.9"), (wrong, True, "0.1"), (bad, False, "0.2")))
    command = ("evals", "agreement", "labelled.jsonl", "-m", "task_completion", "--judge", "m")
    done = run_command(*command, "--judge-url", endpoint.url, *options)
    assert (done.returncode, words in done.stdout) == (code, True), done.stdout + done.stderr


def test_the_command_prints_all_as_json(endpoint: ProviderServer, run_command: RunCommand, tmp_path: Path) -> None:
    """The command prints all results as JSON, and the cases that the judge gets wrong as text."""
    write(tmp_path / "labelled.jsonl", cases((9, True, "0.9"), (1, True, "0.4"), (9, False, "0.2")))
    command = ("evals", "agreement", "labelled.jsonl", "-m", "task_completion", "--judge", "m")
    plain = run_command(*command, "--judge-url", endpoint.url)
    assert "\n10            yes    0.40   seen" in plain.stdout, plain.stderr
    (found,) = json.loads(run_command(*command, "--judge-url", endpoint.url, "--format", "json").stdout)
    assert (found["outcome"], found["cases"], len(found["answers"])) == ("no evidence", 19, 19)
    assert found["interval"][0] < found["kappa"] < found["interval"][1]
    assert found["lack"].startswith("too few cases: with 19, ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "nothing to measure: pass --metric with --judge, or --scorer"),
        (("-m", "confidence"), "confidence needs a judge"),
        (("--scorer", "builtins:len", "--judge-url", "http://x"), "--judge-url needs --judge"),
        (("-m", "confidence", "--threshold", "x=0.5"), "x has a threshold but is not a metric of this evaluation"),
    ],
)
def test_the_command_refuses(run_command: RunCommand, tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    """Invalid options end with exit code 4."""
    write(tmp_path / "labelled.jsonl", cases((1, True, "0.9")))
    done = run_command("evals", "agreement", "labelled.jsonl", *options)
    assert (done.returncode, words in done.stderr) == (4, True), done.stderr
