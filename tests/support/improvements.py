"""Improvements of the shop's agent: changes that fix it, and changes that only seem to fix it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

import improvable_shop
from command_line import clean_environment
from pandaprobe_otel.improve.acceptance import Verdict
from pandaprobe_otel.improve.candidates import NoCandidate, apply, propose, read_candidate, write_report
from pandaprobe_otel.improve.proposing import Response
from pandaprobe_otel.improve.settings import Settings
from pandaprobe_otel.improve.starting import start
from pandaprobe_otel.improve.trial import CandidateResult, try_candidate
from pandaprobe_otel.replay.capture.ordered_trace import traces_in
from provider_server import ProviderServer

PROMPT: Final = "prompts/refund.md"
MOST_LIVE: Final = 500
_TRACED = """
import sys, pandaprobe_otel
pandaprobe_otel.init(local=sys.argv[1], replayable=True)
import app
for question in sys.argv[2:]:
    try: app.support(question)
    except Exception: pass
"""


Change = Callable[[Mapping[str, Any]], Mapping[str, str]]


@dataclass(frozen=True)
class Shop:
    """A project whose improvement has begun."""

    root: Path
    folder: Path
    server: ProviderServer

    def tried(self, change: Change) -> CandidateResult:
        """Propose a change and test it; return the verdict."""
        candidate = propose(self.folder, lambda asked: Response(files=change(asked.evidence), rationale="Because."))
        result = try_candidate(self.folder, candidate, say=lambda _: None)
        write_report(self.folder, candidate, result)
        return result


def entry(question: str) -> str:
    """Stand in for the program's function, whose parameters are inspected."""
    return question


def settings(root: Path, **more: Any) -> Settings:
    """Return settings for the shop."""
    fixed: dict[str, Any] = {
        "allowed": ("prompts/*.md", "tools.py"),
        "live_tools": ("refund_order",),
        "most_live": MOST_LIVE,
    }
    return Settings(**{"root": str(root), "entry": "app:support", **fixed, **more})


@dataclass(frozen=True)
class Traces:
    """A project that has run, and the traces of its runs."""

    root: Path
    path: Path
    server: ProviderServer
    app: str

    def begun(self, folder: Path, **more: Any) -> Shop:
        """Begin an improvement of a new copy of the project."""
        mine = improvable_shop.written(folder / "project", app=self.app)
        found = traces_in(self.path)
        failing = [trace for trace in found if trace.body.get("status") == "ERROR"]
        passing = [trace for trace in found if trace not in failing]
        counts = (len(failing), len(passing))
        assert counts == (len(improvable_shop.PRODUCTS), len(improvable_shop.WHOLE)), self.root
        start(folder / "run", settings(mine, **more), failing=failing, passing=passing, entry=entry)
        return Shop(mine, folder / "run", self.server)


@contextmanager
def traced(folder: Path, *, app: str = improvable_shop.APP) -> Iterator[Traces]:
    """Run the project once for each product, and keep its model running within the block."""
    root = improvable_shop.written(folder / "project", app=app)
    with ProviderServer() as server, pytest.MonkeyPatch.context() as patching:
        server.script = improvable_shop.answer
        variables = {"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": "none", "PYTHONPATH": str(root)}
        asked = [improvable_shop.question(each) for each in (*improvable_shop.PRODUCTS, *improvable_shop.WHOLE)]
        subprocess.run(
            [sys.executable, "-c", _TRACED, str(folder / "traces.jsonl"), *asked],
            env=clean_environment(folder, **variables), cwd=root, check=True, timeout=120,
        )  # fmt: skip
        for name, value in variables.items():
            patching.setenv(name, value)
        yield Traces(root, folder / "traces.jsonl", server, app)


def prompt(text: str) -> Change:
    """Return a proposal that adds a line to the prompt."""
    return lambda _: {PROMPT: f"You refund orders.\n{text}\n"}


def for_the_shown(evidence: Mapping[str, Any]) -> Mapping[str, str]:
    """Add the products of the shown cases to the prompt, which fixes no other cases."""
    shown = [str(case["input"]).partition("pay back my ")[2].partition(".")[0] for case in evidence["cases"]]
    return {PROMPT: f"You refund orders.\nBe careful with: {', '.join(shown)}.\n"}


def reading_commas(_: Mapping[str, Any]) -> Mapping[str, str]:
    """Make the tool accept commas."""
    before = improvable_shop.FILES["tools.py"]
    return {"tools.py": before.replace("    return", '    amount = amount.replace(",", ".")\n    return')}


TRUE: Final[Mapping[str, Change]] = {
    "a rule": prompt("Write amounts with a decimal point."),
    "an example": prompt("Amounts look like 129.00."),
    "code": reading_commas,
}
FALSE: Final[Mapping[str, tuple[Change, str]]] = {
    "overfit": (for_the_shown, "shown only"),
    "breaks a protected case": (prompt("Write a decimal point, and never refund gifts."), "breaks "),
    "no effect": (prompt("Be polite."), "no effect"),
}


def check_true(shop: Shop, name: str) -> None:
    """Check that a fix is accepted within the budget, reported with its numbers, and applied only on request."""
    before = {path: (shop.root / path).read_text(encoding="utf-8") for path in improvable_shop.FILES}
    result = shop.tried(TRUE[name])
    assert result.verdict is Verdict.ACCEPTED, result
    assert len(result.unseen) >= 6
    assert all(sum(each.new) > sum(each.old) for each in result.unseen)
    # The fixed tool changes no request, since no model reads its result, so every answer is replayed.
    assert result.live_calls > 0 or name == "code"
    assert result.live_calls <= MOST_LIVE
    text = (shop.folder / "pull_request.md").read_text(encoding="utf-8")
    assert "```diff" in text
    assert "p = " in text
    assert before == {path: (shop.root / path).read_text(encoding="utf-8") for path in improvable_shop.FILES}
    [changed] = apply(shop.folder, read_candidate(shop.folder))
    assert (shop.root / changed).read_text(encoding="utf-8") != before[changed.as_posix()]


def check_false(shop: Shop, name: str) -> None:
    """Check that a change is rejected within the budget, reported with its reason, and not applied."""
    change, reason = FALSE[name]
    result = shop.tried(change)
    assert result.verdict is Verdict.REJECTED, result
    assert result.reason.startswith(reason)
    assert 0 < result.live_calls <= MOST_LIVE
    report = (shop.folder / "candidates" / "1" / "report.md").read_text(encoding="utf-8")
    assert result.reason in report
    with pytest.raises(NoCandidate, match="rejected"):
        apply(shop.folder, read_candidate(shop.folder))
    assert not (shop.folder / "pull_request.md").exists()
