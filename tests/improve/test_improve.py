"""Improvement of a program whose model errs: true fixes are accepted and false ones rejected, with evidence."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import improvable_shop
from command_line import clean_environment, run_here
from improvements import FALSE, PROMPT, TRUE, Shop, Traces, check_false, check_true, entry, prompt, settings, traced
from pandaprobe_otel.improve.acceptance import CasePairs, Verdict, broken, falls_together, mend, most_runs, suspects
from pandaprobe_otel.improve.candidates import NoCandidate, propose, read_candidate, read_result
from pandaprobe_otel.improve.cases import copied_inputs, split
from pandaprobe_otel.improve.proposing import Request, Response
from pandaprobe_otel.improve.settings import Journal
from pandaprobe_otel.improve.starting import CannotStart, start
from pandaprobe_otel.improve.trial import try_candidate
from pandaprobe_otel.replay.capture.ordered_trace import traces_in
from rings import IN_FULL


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traces]:
    """Yield the project, its traces and its model."""
    with traced(tmp_path_factory.mktemp("shop")) as made:
        yield made


@pytest.fixture
def shop(traces: Traces, tmp_path: Path) -> Shop:
    """Return a new improvement of the shop."""
    return traces.begun(tmp_path)


@pytest.mark.parametrize("name", [pytest.param(name, marks=IN_FULL) for name in TRUE])
def test_true_mends_are_accepted(shop: Shop, name: str) -> None:
    """An accepted change has its verdict, numbers and pull request in files, and is applied only on request."""
    check_true(shop, name)


@pytest.mark.parametrize("name", [pytest.param(name, marks=IN_FULL) for name in FALSE])
def test_false_mends_are_rejected(shop: Shop, name: str) -> None:
    """A change that fits only the shown cases, breaks another or does nothing is rejected for this reason."""
    check_false(shop, name)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "no change"),
        ({"tests/test_shop.py": "x = 1\n"}, "changes a file that judges runs"),
        ({"app.py": "x = 1\n"}, "not allowed"),
        ({"../other.md": "x\n"}, "not allowed"),
        ({PROMPT: "When asked: Please pay back my blender. Please pay back my kettle."}, None),
    ],
)
def test_changes_that_prove_nothing_do_not_run(shop: Shop, files: dict[str, str], reason: str | None) -> None:
    """A proposal without a change, or with a change of tests or of other files, counts as an attempt but is not run."""
    if reason is None:
        assert propose(shop.folder, lambda _: Response(files=files)).number == 1
        return
    with pytest.raises(NoCandidate, match=reason):
        propose(shop.folder, lambda _: Response(files=files))
    assert read_result(shop.folder, 1).reason.startswith(reason)
    assert Journal(shop.folder).live_calls() == 0


@pytest.mark.outer
@pytest.mark.exhaustive
def test_an_interrupted_test_goes_on_where_it_stopped(shop: Shop) -> None:
    """Finished pairs are not run again, and a spent budget leaves the candidate undecided."""
    path = shop.folder / "run.json"
    fields = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**fields, "most_live": 4}), encoding="utf-8")
    result = shop.tried(prompt("Write amounts with a decimal point."))
    assert (result.verdict, result.reason.partition(":")[0]) == (Verdict.UNDECIDED, "budget")
    made = {each: each.stat().st_mtime_ns for each in (shop.folder / "candidates").glob("*/pairs/*/*.new.json")}
    assert len(made) > 0
    assert Journal(shop.folder).live_calls() <= 4
    again = try_candidate(shop.folder, read_candidate(shop.folder), say=lambda _: None)
    assert again.verdict is Verdict.UNDECIDED
    assert {each: each.stat().st_mtime_ns for each in made} == made


def test_too_few_cases_do_not_start(traces: Traces, tmp_path: Path) -> None:
    """Too few failures raise an error with their number, and no run is started."""
    failing = [trace for trace in traces_in(traces.path) if trace.body.get("status") == "ERROR"][:4]
    with pytest.raises(CannotStart, match="too few cases"):
        start(tmp_path / "run", settings(traces.root), failing=failing, passing=[], entry=entry)
    assert not (tmp_path / "run").exists()


def test_the_command_line_leads_through_the_steps(
    traces: Traces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands start, propose and apply print their result, and refuse an untested candidate."""
    monkeypatch.chdir(improvable_shop.written(tmp_path / "project"))
    monkeypatch.delitem(sys.modules, "app", raising=False)
    monkeypatch.delitem(sys.modules, "tools", raising=False)
    environment = {**clean_environment(tmp_path), "PYTHONPATH": str(traces.root)}
    folder = ["--folder", str(tmp_path / "run")]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run_here("improve", *arguments, *folder, environment=environment)

    begun = run("start", str(traces.path), "--entry", "app:support", "--allow", "prompts/*.md")
    assert (begun.returncode, begun.stderr) == (0, "")
    assert "3 failures to look at, 9 unseen, 4 passing runs" in begun.stdout
    assert run("start", str(traces.path), "--entry", "app:support", "--allow", "x").returncode == 4
    refused = run("propose", "--file", f"{PROMPT}")
    assert (refused.returncode, refused.stdout) == (1, "rejected: no change\n")
    (tmp_path / "new.md").write_text("Write amounts with a decimal point.\n", encoding="utf-8")
    taken = run("propose", "--file", f"{PROMPT}={tmp_path / 'new.md'}", "--rationale", "Commas.")
    assert (taken.returncode, taken.stdout) == (0, f"candidate 2: {PROMPT}\n")
    untested = run("apply", "--yes")
    assert untested.returncode == 4
    assert "was not tested" in untested.stderr


def test_the_evidence_has_the_shown_cases_only(shop: Shop) -> None:
    """A proposer sees the shown cases, but no unseen or protected case and no threshold."""
    seen: list[Request] = []

    def look(request: Request) -> Response:
        seen.append(request)
        return Response(files={}, declines="nothing to say")

    with pytest.raises(NoCandidate, match="declines"):
        propose(shop.folder, look)
    text = json.dumps(seen[0].evidence)
    cases = {path.parent.name: set() for path in (shop.folder / "cases").glob("*/*.json")}  # type: ignore[var-annotated]
    for path in (shop.folder / "cases").glob("*/*.json"):
        cases[path.parent.name].add(path.stem)
    assert all(case in text for case in cases["shown"])
    assert not any(case in text for case in cases["unseen"] | cases["protected"])
    assert "alpha" not in text


# -- acceptance, in random runs with and without a real effect ---------------------------------------------------------


def drawn(chance: random.Random, cases: int, repeats: int, old: float, new: float) -> list[CasePairs]:
    """Draw pairs of runs that pass with these probabilities."""
    return [
        CasePairs(
            str(case),
            tuple(chance.random() < old for _ in range(repeats)),
            tuple(chance.random() < new for _ in range(repeats)),
        )
        for case in range(cases)
    ]


def is_accepted(pairs: list[CasePairs], looks: int = 3) -> bool:
    """Return the decision of the first look that decides."""
    for look in range(1, looks + 1):
        seen = [CasePairs(each.case, each.old[:look], each.new[:look]) for each in pairs]
        state = mend(seen, look=look, looks=looks, alpha=0.05, candidates=3)
        if state.decision is not None:
            return state.decision
    raise AssertionError("the last look decides")


@pytest.mark.parametrize("flaky", [0.0, 0.15, 0.4])
def test_changes_without_effect_are_hardly_ever_accepted(flaky: float) -> None:
    """Fewer than 25 of 1,000 changes without effect are accepted, with three looks and three candidates."""
    chance = random.Random(1)
    accepted = sum(is_accepted(drawn(chance, 10, 3, flaky, flaky)) for _ in range(1000))
    assert accepted < 25


def test_large_gains_are_accepted() -> None:
    """A change that raises ten failures from 15 % to 90 % passing runs is accepted in over 90 % of tests."""
    chance = random.Random(2)
    assert sum(is_accepted(drawn(chance, 10, 3, 0.15, 0.9)) for _ in range(200)) > 180


def test_a_clear_mend_needs_one_look_and_no_effect_at_most_two() -> None:
    """A clear gain in twelve cases is decided at the first look, and no gain at the second."""
    sure = drawn(random.Random(3), 12, 1, 0.0, 1.0)
    assert mend(sure, look=1, looks=3, alpha=0.05, candidates=3).decision is True
    none = drawn(random.Random(3), 12, 2, 0.0, 0.0)
    assert mend(none, look=1, looks=3, alpha=0.05, candidates=3).decision is None
    assert mend(none, look=2, looks=3, alpha=0.05, candidates=3).decision is False


def test_few_cases_or_a_small_gain_decide_nothing() -> None:
    """Five cases are too few for acceptance, and so is a gain of a tenth in a hundred cases."""
    few = drawn(random.Random(4), 5, 3, 0.0, 1.0)
    assert mend(few, look=3, looks=3, alpha=0.05, candidates=3).decision is False
    small = [CasePairs(str(case), (False,) * 10, (True,) + (False,) * 9) for case in range(100)]
    assert mend(small, look=3, looks=3, alpha=0.05, candidates=3).decision is False


def test_one_lost_run_is_doubted_and_a_confirmed_loss_rejects() -> None:
    """A case with one lost run gets fresh pairs; three net losses of five reject the change, two do not."""
    lost = CasePairs("gift", (True, True), (True, False))
    assert suspects([lost, CasePairs("pen", (True, False), (True, True))]) == ("gift",)
    assert broken([CasePairs("gift", (True,) * 5, (True, True, True, False, False))]) == ()
    [case] = broken([CasePairs("gift", (True,) * 5, (True, True, False, False, False))])
    assert str(case) == "5/5 → 2/5"


def test_small_losses_everywhere_reject_as_well() -> None:
    """Six cases that each lose one of two runs reject the change together."""
    assert falls_together([CasePairs(str(case), (True, True), (True, False)) for case in range(6)])
    assert not falls_together([CasePairs(str(case), (True, True), (True, True)) for case in range(6)])


def test_the_split_keeps_families_together_and_hides_most() -> None:
    """Inputs that differ only in numbers, or are of one session, are all shown or all unseen; at most ten are shown."""
    inputs = {f"{word}-{number}": f"refund {word} {number}" for word in "abcdefgh" for number in range(3)}
    sessions = {"a-0": "s", "b-0": "s"}
    parts = split(inputs, sessions)
    for word in "cdefgh":
        assert len({parts[f"{word}-{number}"] for number in range(3)}) == 1
    assert len({parts[f"{word}-{number}"] for word in "ab" for number in range(3)}) == 1
    assert 0 < sum(part == "shown" for part in parts.values()) <= 10
    assert parts == split(dict(reversed(inputs.items())), sessions)


def test_a_shown_input_in_a_rule_is_found() -> None:
    """A rule with an identifier from a shown input is detected, unless the old file has that identifier too."""
    shown = [{"question": "please pay back the order A-1742 of my old aunt in Graz"}]
    assert copied_inputs("For A-1742 say 129.00", shown) == ("A-1742",)
    assert copied_inputs("When asked: please pay back the order of my old aunt", shown) == ()
    assert copied_inputs("A-1742", shown, before="as in A-1742") == ()


def test_the_worst_case_is_known_before_the_first_run() -> None:
    """The largest number of runs of two sides, repeats and fresh pairs is known before the first run."""
    assert most_runs(unseen=10, repeats=3, protected=20, shown=3) == 60 + 80 + 6 + 200
