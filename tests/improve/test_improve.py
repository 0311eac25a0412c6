"""Improvement of a program whose model errs: true mends are accepted, false ones rejected, each with its evidence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import improvable_shop
from command_line import clean_environment, run_here
from pandaprobe_otel.improve.acceptance import Verdict
from pandaprobe_otel.improve.candidates import NoCandidate, apply, propose, read_candidate, read_result, write_report
from pandaprobe_otel.improve.proposing import Request, Response
from pandaprobe_otel.improve.settings import Journal, Settings
from pandaprobe_otel.improve.starting import CannotStart, start
from pandaprobe_otel.improve.trial import CandidateResult, try_candidate
from pandaprobe_otel.replay.capture.ordered_trace import traces_in
from provider_server import ProviderServer
from rings import IN_FULL

PROMPT = "prompts/refund.md"
_TRACED = """
import sys, pandaprobe_otel
pandaprobe_otel.init(local=sys.argv[1], replayable=True)
import app
for question in sys.argv[2:]:
    try: app.support(question)
    except Exception: pass
"""


@dataclass(frozen=True)
class Shop:
    """A project with an improvement that has begun."""

    root: Path
    folder: Path
    server: ProviderServer

    def tried(self, change: Callable[[Mapping[str, Any]], Mapping[str, str]]) -> CandidateResult:
        """Propose a change and test it; return the verdict."""
        candidate = propose(self.folder, lambda asked: Response(files=change(asked.evidence), rationale="Because."))
        result = try_candidate(self.folder, candidate, say=lambda _: None)
        write_report(self.folder, candidate, result)
        return result


def entry(question: str) -> str:
    """Stand for the program's function, for the form of its arguments."""
    return question


def settings(root: Path, **more: Any) -> Settings:
    """Return settings for the shop."""
    fixed: dict[str, Any] = {"allowed": ("prompts/*.md", "tools.py"), "live_tools": ("refund_order",), "most_live": 500}
    return Settings(**{"root": str(root), "entry": "app:support", **fixed, **more})


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path, ProviderServer]]:
    """Return the project, its traces and its model."""
    folder = tmp_path_factory.mktemp("shop")
    root = improvable_shop.written(folder / "project")
    with ProviderServer() as server:
        server.script = improvable_shop.answer
        variables = {"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": "none", "PYTHONPATH": str(root)}
        asked = [improvable_shop.question(each) for each in (*improvable_shop.PRODUCTS, *improvable_shop.WHOLE)]
        subprocess.run(
            [sys.executable, "-c", _TRACED, str(folder / "traces.jsonl"), *asked],
            env=clean_environment(folder, **variables), cwd=root, check=True, timeout=120,
        )  # fmt: skip
        os.environ.update(variables)
        yield root, folder / "traces.jsonl", server
        for name in variables:
            del os.environ[name]


@pytest.fixture
def shop(traces: tuple[Path, Path, ProviderServer], tmp_path: Path) -> Shop:
    """Return a new improvement of the shop."""
    root, path, server = traces
    mine = improvable_shop.written(tmp_path / "project")
    found = traces_in(path)
    failing = [trace for trace in found if trace.body.get("status") == "ERROR"]
    passing = [trace for trace in found if trace not in failing]
    assert (len(failing), len(passing)) == (len(improvable_shop.PRODUCTS), len(improvable_shop.WHOLE)), root
    start(tmp_path / "run", settings(mine), failing=failing, passing=passing, entry=entry)
    return Shop(mine, tmp_path / "run", server)


def prompt(text: str) -> Callable[[Mapping[str, Any]], Mapping[str, str]]:
    """Return a proposal that adds a line to the prompt."""
    return lambda _: {PROMPT: f"You refund orders.\n{text}\n"}


def for_the_shown(evidence: Mapping[str, Any]) -> Mapping[str, str]:
    """Name the products of the shown cases, which mends these and nothing else."""
    shown = [str(case["input"]).partition("pay back my ")[2].partition(".")[0] for case in evidence["cases"]]
    return {PROMPT: f"You refund orders.\nBe careful with: {', '.join(shown)}.\n"}


def reading_commas(_: Mapping[str, Any]) -> Mapping[str, str]:
    """Change the code of the tool."""
    before = improvable_shop.FILES["tools.py"]
    return {"tools.py": before.replace("    return", '    amount = amount.replace(",", ".")\n    return')}


TRUE = {
    "a rule": prompt("Write amounts with a decimal point."),
    "an example": prompt("Amounts look like 129.00."),
    "code": reading_commas,
}
FALSE = {
    "overfit": (for_the_shown, "shown only"),
    "breaks a protected case": (prompt("Write a decimal point, and never refund gifts."), "breaks "),
    "no effect": (prompt("Be polite."), "no effect"),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=IN_FULL) for name in TRUE])
def test_true_mends_are_accepted(shop: Shop, name: str) -> None:
    """The verdict, its numbers and the pull request are files, and the change is applied only when asked."""
    result = shop.tried(TRUE[name])
    assert result.verdict is Verdict.ACCEPTED, result
    assert len(result.unseen) >= 6
    assert all(sum(each.new) > sum(each.old) for each in result.unseen)
    assert result.live_calls <= 500
    text = (shop.folder / "pull_request.md").read_text(encoding="utf-8")
    assert "```diff" in text
    assert "p = " in text
    before = {path: (shop.root / path).read_text(encoding="utf-8") for path in improvable_shop.FILES}
    assert before == dict(improvable_shop.FILES)
    [changed] = apply(shop.folder, read_candidate(shop.folder))
    assert (shop.root / changed).read_text(encoding="utf-8") != before[changed.as_posix()]


@pytest.mark.parametrize("name", [pytest.param(name, marks=IN_FULL) for name in FALSE])
def test_false_mends_are_rejected(shop: Shop, name: str) -> None:
    """A change that fits the shown cases, breaks another one or does nothing is rejected for this reason."""
    change, reason = FALSE[name]
    result = shop.tried(change)
    assert result.verdict is Verdict.REJECTED, result
    assert result.reason.startswith(reason)
    report = (shop.folder / "candidates" / "1" / "report.md").read_text(encoding="utf-8")
    assert result.reason in report
    with pytest.raises(NoCandidate, match="rejected"):
        apply(shop.folder, read_candidate(shop.folder))
    assert not (shop.folder / "pull_request.md").exists()


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
    """Tests, files that are not allowed and no change are refused before any run, and count as an attempt."""
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
    """Finished pairs are not run again; a budget that is spent leaves the candidate undecided, not accepted."""
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


def test_too_few_cases_do_not_start(traces: tuple[Path, Path, ProviderServer], tmp_path: Path) -> None:
    """Six unseen failures are the least that can decide; the answer has the numbers."""
    failing = [trace for trace in traces_in(traces[1]) if trace.body.get("status") == "ERROR"][:4]
    with pytest.raises(CannotStart, match="too few cases"):
        start(tmp_path / "run", settings(traces[0]), failing=failing, passing=[], entry=entry)
    assert not (tmp_path / "run").exists()


def test_the_command_line_leads_through_the_steps(
    traces: tuple[Path, Path, ProviderServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """start, propose, test and apply say what they did, and what is not there."""
    monkeypatch.chdir(improvable_shop.written(tmp_path / "project"))
    monkeypatch.delitem(sys.modules, "app", raising=False)
    monkeypatch.delitem(sys.modules, "tools", raising=False)
    environment = {**clean_environment(tmp_path), "PYTHONPATH": str(traces[0])}
    folder = ["--folder", str(tmp_path / "run")]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run_here("improve", *arguments, *folder, environment=environment)

    begun = run("start", str(traces[1]), "--entry", "app:support", "--allow", "prompts/*.md")
    assert (begun.returncode, begun.stderr) == (0, "")
    assert "3 failures to look at, 9 unseen, 4 passing runs" in begun.stdout
    assert run("start", str(traces[1]), "--entry", "app:support", "--allow", "x").returncode == 4
    refused = run("propose", "--file", f"{PROMPT}")
    assert (refused.returncode, refused.stdout) == (1, "rejected: no change\n")
    (tmp_path / "new.md").write_text("Write amounts with a decimal point.\n", encoding="utf-8")
    taken = run("propose", "--file", f"{PROMPT}={tmp_path / 'new.md'}", "--rationale", "Commas.")
    assert (taken.returncode, taken.stdout) == (0, f"candidate 2: {PROMPT}\n")
    untested = run("apply", "--yes")
    assert untested.returncode == 4
    assert "was not tested" in untested.stderr


def test_the_evidence_has_the_shown_cases_only(shop: Shop) -> None:
    """A proposer sees neither unseen and protected cases nor thresholds."""
    seen: list[Request] = []

    def look(asked: Request) -> Response:
        seen.append(asked)
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
