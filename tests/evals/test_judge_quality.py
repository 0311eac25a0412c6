"""The quality of a judge: its agreement with labels, with a confidence interval, and its spread over repeats."""

from __future__ import annotations

import json
import math
import random
from collections import defaultdict
from collections.abc import Generator, Iterable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from pandaprobe_otel.evals import LocalJudge, TaskRun, measure_judge
from pandaprobe_otel.evals.kappa import Agreement, agreement
from pandaprobe_otel.evals.labels import load_labelled
from provider_server import ProviderServer, Received, Reply, json_reply
from suites import RunCommand


def verdicts(both_yes: int, false_no: int, false_yes: int, both_no: int) -> list[tuple[bool, float]]:
    """Return labels and answers, with the given number of each combination."""
    return [(True, 1.0)] * both_yes + [(True, 0.0)] * false_no + [(False, 1.0)] * false_yes + [(False, 0.0)] * both_no


def asymptotic(found: Agreement) -> tuple[float, float]:
    """Return the interval for many cases: kappa ± 1.96 standard errors (Fleiss, Cohen and Everitt 1969)."""
    n = found.cases
    p = [[found.both_yes / n, found.false_no / n], [found.false_yes / n, found.both_no / n]]
    person, judge = [sum(row) for row in p], [p[0][i] + p[1][i] for i in (0, 1)]
    chance = sum(person[i] * judge[i] for i in (0, 1))
    kappa = (found.share - chance) / (1 - chance)
    same = sum(p[i][i] * (1 - (person[i] + judge[i]) * (1 - kappa)) ** 2 for i in (0, 1))
    other = (1 - kappa) ** 2 * sum(p[i][1 - i] * (judge[i] + person[1 - i]) ** 2 for i in (0, 1))
    error = math.sqrt((same + other - (kappa - chance * (1 - kappa)) ** 2) / n) / (1 - chance)
    return kappa - 1.96 * error, kappa + 1.96 * error


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
    """Kappa equals the textbooks' values and lies in its interval, which is the same for the same seed."""
    found = agreement(verdicts(*cells))
    assert found.kappa is not None
    assert found.kappa == pytest.approx(kappa, abs=1e-4)
    assert found.low <= found.kappa <= found.high
    assert found == agreement(verdicts(*cells))
    assert found != agreement(verdicts(*cells), seed=1)


@pytest.mark.parametrize("cells", [(400, 100, 200, 300), (900, 30, 20, 50), (450, 50, 50, 450)])
def test_the_interval_of_many_cases_is_that_of_the_textbooks(cells: tuple[int, int, int, int]) -> None:
    """The interval for many cases equals that of the textbooks' formula."""
    found = agreement(verdicts(*cells))
    assert (found.low, found.high) == pytest.approx(asymptotic(found), abs=0.015)


def test_the_interval_of_few_cases_holds_what_it_promises() -> None:
    """Of 80 intervals from samples of 25 cases, at least 72 contain the true kappa."""
    shares, truth = (0.4, 0.1, 0.1, 0.4), 0.6
    kinds = [verdicts(*(1 if place == kind else 0 for place in range(4)))[0] for kind in range(4)]
    drawn = random.Random(7)
    found = [agreement(drawn.choices(kinds, shares, k=25), seed=seed) for seed in range(80)]
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
    assert narrow.high - narrow.low == pytest.approx(0.2, abs=0.06)


def test_one_label_alone_says_nothing() -> None:
    """With a single label or without cases, there is no kappa."""
    assert agreement(verdicts(20, 0, 0, 0)).kappa is None
    assert agreement([]).kappa is None
    assert (agreement([]).low, agreement([]).high) == (-1.0, 1.0)


def test_shares_of_answers_count_by_their_size() -> None:
    """A case with a yes in two of four answers counts as half a yes."""
    found = agreement([(True, 0.5), (True, 1.0), (False, 0.25), (False, 0.0)])
    assert (found.both_yes, found.false_no, found.false_yes, found.both_no) == (1.5, 0.5, 0.25, 1.75)


# -- labels -----------------------------------------------------------------------------------------------------------


def labels_of(items: Iterable[Any], metric: str = "m") -> list[bool | None]:
    """Return the labels that are parsed with a threshold of 0.5."""
    return [one.is_good(metric, 0.5) for one in load_labelled([{"output": "x", "label": item} for item in items])]


def test_labels_in_many_forms() -> None:
    """Labels may be words, numbers, or objects with a label for each metric, also as JSON in a CSV file."""
    assert labels_of([True, "yes", "Pass", 1, "1", 0.5, "0.9", {"m": "good"}, '{"m": true}']) == [True] * 9
    assert labels_of([False, "no", "fail", 0, "0", 0.4, {"m": False}]) == [False] * 7
    assert labels_of([None, "", {"other": True}]) == [None] * 3
    with pytest.raises(ValueError, match="the label 'perhaps' of case 1 is neither a number nor one of true, yes, "):
        labels_of(["perhaps"])


@pytest.mark.parametrize("label", [5, "2", -1, "nan", "inf"])
def test_a_label_on_another_scale_is_refused(label: Any) -> None:
    """Labels such as grades from 1 to 5 are refused before a judge is paid."""
    dataset = [{"output": "x", "label": True}, {"output": "x", "label": label}]
    with pytest.raises(ValueError, match=f"the label {label!r} of case 2 is not between 0 and 1"):
        measure_judge(dataset, [lambda run: pytest.fail("it was asked")])


@pytest.mark.parametrize(
    "item",
    [
        {"trace": "no JSON", "label": True},
        {"trace": [], "label": True},
        {"trace": {"spans": "text"}, "label": True},
        {"trace": {"spans": [{"name": "without a time"}]}, "label": True},
        {"output": "x", "label": '{"m": '},
    ],
)
def test_a_case_that_cannot_be_read_is_refused(item: dict[str, Any]) -> None:
    """The error names the number of a case that cannot be read."""
    with pytest.raises(ValueError, match="case 2 cannot be read: "):
        load_labelled([{"output": "x", "label": True}, item])


def test_a_case_without_a_label_or_an_output_is_refused() -> None:
    """The error names the number of a case without a label or an output."""
    with pytest.raises(ValueError, match="case 2 needs 'label' and either 'input' with 'output', or 'trace'"):
        load_labelled([{"output": "x", "label": True}, {"output": "x"}])
    with pytest.raises(ValueError, match="case 1 needs"):
        load_labelled([{"input": "x", "label": True}])


def test_a_trace_is_a_case() -> None:
    """A trace in the form of the API is a case, with the trace's input and output."""
    times = {"started_at": "2026-01-01T00:00:00Z", "ended_at": "2026-01-01T00:00:02Z"}
    body = {"trace_id": "t", "name": "n", "input": "q", "output": "a", **times}
    span = {"span_id": "1", "name": "look_up", "kind": "TOOL", "input": {}, **times}
    (case,) = load_labelled([{"trace": {**body, "spans": [span]}, "label": True, "lang": "de"}])
    assert (case.run.case.input, case.run.output, case.run.seconds) == ("q", "a", 2.0)
    assert case.run.spans.tool().names == ["look_up"]
    assert case.run.case.metadata == {"lang": "de"}


# -- judges -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def endpoint() -> Generator[ProviderServer]:
    """Yield a judge that reads its scores from the case's input and gives them one after the other."""
    numbers: defaultdict[str, count[int]] = defaultdict(count)

    def says(request: Received) -> Reply:
        asked = json.loads(request.json["messages"][0]["content"].partition("<trace>")[2].partition("</trace>")[0])
        if "down" in str(asked["input"]):
            return Reply(status=401, chunks=(b"no key",))
        number, *scores = str(asked["input"]).split()
        score = float(scores[next(numbers[number]) % len(scores)])
        found = {"reason": "seen", "score": score, "task": "t", "outcome": "o"}
        return json_reply({"choices": [{"message": {"role": "assistant", "content": json.dumps(found)}}]})

    with ProviderServer() as server:
        server.script = says
        yield server


def cases(*kinds: tuple[int, bool, str]) -> list[dict[str, Any]]:
    """Return cases of several kinds, each with a number, a label and the judge's scores."""
    made = [(label, scores) for number, label, scores in kinds for _ in range(number)]
    return [{"input": f"{n} {scores}", "output": "o", "label": label} for n, (label, scores) in enumerate(made)]


@pytest.mark.parametrize(
    ("kinds", "silent", "outcome"),
    [
        (((45, True, 1.0), (45, False, 0.0)), 5, "passed"),
        (((45, True, 1.0), (45, False, 0.0)), 60, "no evidence"),
        (((45, True, 0.0), (45, False, 0.0)), 300, "no evidence"),
        (((45, True, 0.0), (45, False, 1.0)), 5, "failed"),
    ],
)
def test_answers_that_are_missing_may_make_the_difference(kinds: Any, silent: int, outcome: str) -> None:
    """Missing answers lead to "no evidence" only if they could change the outcome."""
    said = [{"output": score, "label": label} for number, label, score in kinds for _ in range(number)]
    unsaid = [{"output": "silence", "label": number % 2 == 0} for number in range(silent)]

    def opinion(run: TaskRun) -> float:
        return float(run.output)

    (found,) = measure_judge([*said, *unsaid], [opinion], min_kappa=0.6)
    assert (found.outcome, len(found.unanswered)) == (outcome, silent)


def test_a_judge_and_people(endpoint: ProviderServer) -> None:
    """The report has the number of wrong answers in each direction, and a confidence interval."""
    told: list[str] = []
    dataset = cases((40, True, "0.9"), (4, True, "0.2"), (2, False, "0.8"), (40, False, "0.1"))
    judge = LocalJudge("m", url=endpoint.url)
    (found,) = measure_judge(dataset, ["task_completion"], judge=judge, say=told.append)
    assert told == ["86 cases × 1 metric × 1 answer = 86 evaluations"]
    assert found.agreement.kappa == pytest.approx(0.86, abs=0.01)
    assert (found.agreement.false_no, found.agreement.false_yes, found.agreement.share) == (4, 2, 80 / 86)
    assert [one.id for one in found.disagreements] == ["41", "42", "43", "44", "45", "46"]
    assert (found.outcome, found.deviation) == ("passed", None)


def test_one_trace_may_be_labelled_twice(endpoint: ProviderServer) -> None:
    """Two labels for one trace, by two people or from two files, are two cases."""
    times = {"started_at": "2026-01-01T00:00:00Z", "ended_at": "2026-01-01T00:00:02Z"}
    body = {"trace_id": "t", "name": "n", "input": "1 0.9", "output": "a", "spans": [], **times}
    dataset = [{"trace": body, "label": label} for label in (True, False)]
    (found,) = measure_judge(dataset, ["task_completion"], judge=LocalJudge("m", url=endpoint.url))
    assert [(one.id, one.label, one.values) for one in found.answers] == [("1", True, (0.9,)), ("2", False, (0.9,))]


def test_how_much_a_judge_varies(endpoint: ProviderServer) -> None:
    """The deviation is measured within cases, not between them; changed verdicts are counted."""
    dataset = cases((20, True, "0.9"), (5, True, "0.4 0.6 0.8"), (20, False, "0.1"))
    (found,) = measure_judge(dataset, "task_completion", judge=LocalJudge("m", url=endpoint.url), repeat=3)
    assert found.deviation == pytest.approx(math.sqrt(5 * 0.04 / 45))
    assert (found.steady.passed, found.steady.total) == (40, 45)
    assert found.agreement.false_no == pytest.approx(5 / 3)
    assert [one.values for one in found.disagreements] == [(0.4, 0.6, 0.8)] * 5


def test_an_unanswered_case_is_listed_with_the_reason(endpoint: ProviderServer) -> None:
    """An unanswered case is listed with the reason, and does not count."""
    dataset = [*cases((1, True, "0.9")), {"id": "d", "input": "down", "output": "o", "label": True}]
    (found,) = measure_judge(dataset, "task_completion", judge=LocalJudge("m", url=endpoint.url))
    assert list(found.unanswered) == ["d"]
    assert "HTTP 401" in found.unanswered["d"]
    assert (found.agreement.cases, found.outcome) == (1, "no evidence")


def says_so(run: TaskRun) -> float:
    """Return the score in the input, as a scorer."""
    return float(str(run.case.input).split()[1])


def test_scorers_are_measured_too() -> None:
    """Scorers are measured without a judge, with labels for each metric."""
    dataset = [{**case, "label": {"says_so": case["label"]}} for case in cases((20, True, "0.9"), (20, False, "0.1"))]
    (found,) = measure_judge(dataset, [says_so])
    assert (found.metric, found.agreement.kappa, found.outcome) == ("says_so", 1.0, "passed")


def test_invalid_settings_are_refused_before_a_judge_runs(endpoint: ProviderServer) -> None:
    """Invalid settings are refused before a judge is asked."""
    dataset = cases((2, True, "0.9"))
    judge = LocalJudge("m", url=endpoint.url)
    for wrong, said in (
        ({"metrics": "task_completion"}, "task_completion needs a judge"),
        ({"metrics": "task_complete", "judge": judge}, "task_complete is not a metric of traces"),
        ({"metrics": "confidence", "judge": judge, "max_evaluations": 3, "repeat": 2}, "4 evaluations, but"),
        ({"metrics": "confidence", "judge": judge, "repeat": 0}, "repeat=0 is not"),
        ({"metrics": (), "judge": judge}, "no metric to measure"),
    ):
        arguments: dict[str, Any] = dict(wrong)
        with pytest.raises(ValueError, match=said):
            measure_judge(dataset, **arguments)
    assert endpoint.received == []


def write(path: Path, items: Iterable[Any]) -> None:
    """Write a dataset."""
    path.write_text("\n".join(json.dumps(item) for item in items), encoding="utf-8")


@pytest.mark.parametrize(
    ("numbers", "options", "code", "said"),
    [
        ((40, 2, 40), ("--min-kappa", "0.6"), 0, "task_completion: passed\n  kappa      0.95, 95 % CI 0."),
        ((40, 38, 40), ("--min-kappa", "0.9"), 1, "task_completion: failed\n"),
        ((12, 1, 12), ("--min-kappa", "0.8"), 6, "task_completion: no evidence\n"),
        ((3, 0, 3), (), 6, "too few cases: 3 with the label yes; each label needs at least 5"),
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
    said: str,
) -> None:
    """The exit code follows from the confidence interval."""
    good, wrong, bad = numbers
    write(tmp_path / "labelled.jsonl", cases((good, True, "0.9"), (wrong, True, "0.1"), (bad, False, "0.2")))
    command = ("evals", "agreement", "labelled.jsonl", "-m", "task_completion", "--judge", "m")
    done = run_command(*command, "--judge-url", endpoint.url, *options)
    assert (done.returncode, said in done.stdout) == (code, True), done.stdout + done.stderr


def test_the_command_tells_all_in_json(endpoint: ProviderServer, run_command: RunCommand, tmp_path: Path) -> None:
    """The command prints all results as JSON, and the spread as text."""
    write(tmp_path / "labelled.jsonl", cases((9, True, "0.9 0.7"), (1, True, "0.4 0.6"), (9, False, "0.2")))
    command = ("evals", "agreement", "labelled.jsonl", "-m", "task_completion", "--repeat", "2", "--judge", "m")
    plain = run_command(*command, "--judge-url", endpoint.url)
    assert "± 0.10 (standard deviation); the verdict stays the same in 95% of 19 cases" in plain.stdout, plain.stderr
    assert "  10: the label is yes, the score 0.40, 0.60: seen" in plain.stdout
    (found,) = json.loads(run_command(*command, "--judge-url", endpoint.url, "--format", "json").stdout)
    assert (found["repeat"], found["cases"], len(found["answers"])) == (2, 19, 19)
    assert found["interval"][0] < found["kappa"] < found["interval"][1]
    assert found["lack"].startswith("too few cases: with 19, ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "nothing to measure: pass --metric with --judge, or --scorer"),
        (("-m", "confidence"), "confidence needs a judge"),
        (("-m", "confidence", "--judge", "m"), "the judge m is none of openai/…"),
        (("--scorer", "builtins:len", "--judge-url", "http://x"), "--judge-url needs --judge"),
        (("--scorer", "nowhere:f"), "nowhere:f cannot be loaded"),
        (("-m", "confidence", "--threshold", "x=0.5"), "x has a threshold but is not measured"),
    ],
)
def test_the_command_refuses(run_command: RunCommand, tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    """Invalid options end with exit code 4."""
    write(tmp_path / "labelled.jsonl", cases((1, True, "0.9")))
    done = run_command("evals", "agreement", "labelled.jsonl", *options)
    assert (done.returncode, said in done.stderr) == (4, True), done.stderr
