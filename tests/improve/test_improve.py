"""Improvement of a program whose model errs: true fixes are accepted and false ones rejected, with evidence."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import improvable_shop
from command_line import clean_environment, run_here
from improvements import FALSE, PROMPT, TRUE, Shop, Traces, check_false, check_true, entry, prompt, settings, traced
from pandaprobe_otel.improve.acceptance import Verdict
from pandaprobe_otel.improve.candidates import NoCandidate, propose, read_candidate, read_result
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
