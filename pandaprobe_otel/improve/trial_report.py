"""Text of a test: the change, the evidence for and against it, and the limits of the test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pandaprobe_otel.improve.acceptance import CasePairs, Verdict
from pandaprobe_otel.improve.candidate import Candidate, diff
from pandaprobe_otel.improve.settings import Settings
from pandaprobe_otel.improve.trial import CandidateResult

_BLIND: Final = (
    (
        "A loss of ten points in every protected case is detected in a third of tests with 20 cases, and in five of "
        "six with 50."
    ),
    "Not tested: inputs unlike the recorded ones, and tools that were played back.",
)


def report(folder: Path, settings: Settings, candidate: Candidate, result: CandidateResult) -> str:
    """Return the report of a candidate as Markdown."""
    lines = [
        f"# Candidate {candidate.number}: {result.verdict}",
        "",
        f"{result.reason}. Entry `{settings.entry}`, folder `{folder.name}`.",
        "",
        candidate.rationale.strip() or "The proposer gave no reason.",
        "",
        "```diff",
        diff(Path(settings.root), candidate.files).rstrip("\n"),
        "```",
        "",
        f"Shown failures that pass: {result.shown_passed} of {result.shown} (they decide nothing).",
        f"Calls sent to models so far: {result.live_calls} of at most {settings.most_live}.",
    ]
    if result.chance is not None and result.gain is not None:
        lines += [
            "",
            f"Unseen failures: one-sided sign-flip test over cases, p = {result.chance:.3g}.",
            f"The level is {settings.alpha} / {settings.candidates}. Mean gain {result.gain:+.0%}.",
            "",
            *_table(result.unseen),
        ]
    if result.protected:
        lines += ["", "Protected cases, passes of old → new:", "", *_table(result.protected)]
        if unstable := [each.case for each in result.protected if not any(each.old)]:
            lines += ["", f"The old program does not pass {', '.join(unstable)} today, so these cases were set aside."]
    if result.confirmed:
        lines += ["", "Fresh pairs of cases with a loss:", "", *_table(result.confirmed)]
    lines += ["", "Not seen:", "", *(f"- {line}" for line in _BLIND), ""]
    return "\n".join(lines)


def pull_request(folder: Path, settings: Settings, candidate: Candidate, result: CandidateResult) -> str:
    """Return the text for a pull request. Raises ValueError for a candidate that was not accepted."""
    if result.verdict is not Verdict.ACCEPTED:
        raise ValueError(f"candidate {candidate.number} is {result.verdict}: {result.reason}")
    again = f"pandaprobe-otel improve test --folder {folder} --candidate {candidate.number}"
    return f"{report(folder, settings, candidate, result)}\nTest it again: `{again}`\n"


def _table(pairs: Sequence[CasePairs]) -> list[str]:
    rows = [f"| {each.case} | {sum(each.old)}/{len(each.old)} | {sum(each.new)}/{len(each.new)} |" for each in pairs]
    return ["| Case | old passes | new passes |", "|---|---|---|", *rows]
