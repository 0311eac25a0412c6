"""Trial of a candidate: shown cases once, unseen failures in several looks, protected cases in pairs, and a verdict."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from pandaprobe_otel.improve.acceptance import (
    CasePairs,
    Mend,
    Verdict,
    broken,
    chance_of_fall,
    falls_together,
    mend,
    suspects,
)
from pandaprobe_otel.improve.candidate import Candidate, apply_to, copy_project
from pandaprobe_otel.improve.cases import Case, read_cases
from pandaprobe_otel.improve.pairs import BudgetSpent, Pairs, RunFailed
from pandaprobe_otel.improve.settings import Journal, Settings, read_settings

CONFIRMATIONS: Final = 5
"""Number of fresh pairs for a protected case with a loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateResult:
    """Verdict of a candidate, with the numbers behind it."""

    verdict: Verdict
    reason: str
    chance: float | None = None
    gain: float | None = None
    unseen: tuple[CasePairs, ...] = ()
    protected: tuple[CasePairs, ...] = ()
    confirmed: tuple[CasePairs, ...] = ()
    shown_passed: int = 0
    shown: int = 0
    live_calls: int = 0

    def as_json(self) -> str:
        """Return all numbers as JSON."""
        return json.dumps(asdict(self), indent=1, default=str)


def try_candidate(
    folder: Path, candidate: Candidate, *, say: Callable[[str], None], most_calls: int | None = None
) -> CandidateResult:
    """Run a candidate against the cases, and write the verdict into its folder.

    It sends at most `most_calls` calls to models, or as many as are left of the number allowed at the start.

    Pairs that were made before an interruption are not made again. Never raises for a run that fails: the verdict is
    then undecided, with the reason.
    """
    settings, journal = read_settings(folder), Journal(folder)
    if most_calls is not None:
        settings = replace(settings, most_live=min(settings.most_live, journal.live_calls() + most_calls))
    journal.note("test began", candidate=candidate.number)
    with tempfile.TemporaryDirectory(prefix="pandaprobe-improve-") as work:
        copy = Path(work) / "project"
        copy_project(Path(settings.root), copy)
        apply_to(copy, candidate.files)
        pairs = Pairs(folder, settings, candidate=candidate.number, copy=copy)
        try:
            result = _decided(read_cases(folder), settings, pairs, say)
        except BudgetSpent as error:
            result = CandidateResult(verdict=Verdict.UNDECIDED, reason=f"budget: {error}")
        except RunFailed as error:
            result = CandidateResult(verdict=Verdict.UNDECIDED, reason=f"a run failed: {error}")
    result = replace(result, live_calls=journal.live_calls())
    path = folder / "candidates" / str(candidate.number) / "verdict.json"
    path.write_text(result.as_json(), encoding="utf-8")
    journal.note("tested", candidate=candidate.number, verdict=result.verdict, reason=result.reason)
    return result


def _decided(cases: Sequence[Case], settings: Settings, pairs: Pairs, say: Callable[[str], None]) -> CandidateResult:
    shown = [case for case in cases if case.part == "shown"]
    unseen = [case for case in cases if case.part == "unseen"]
    protected = [case for case in cases if case.part == "protected"]
    passed = sum(pairs.new_side(case) for case in shown)
    say(f"{passed} of {len(shown)} shown failures pass with the change")
    known: dict[str, Any] = {"shown": len(shown), "shown_passed": passed}
    if not passed:
        return CandidateResult(verdict=Verdict.REJECTED, reason="no effect: no shown failure passes", **known)
    found, last = _mended(unseen, settings, pairs, say)
    known |= {"unseen": tuple(found), "chance": last.chance, "gain": last.gain}
    if not last.decision:
        all_shown = passed == len(shown) and last.gain <= 0
        reason = "shown only" if all_shown else f"no effect (p = {last.chance:.3g}, gain {last.gain:+.0%})"
        return CandidateResult(verdict=Verdict.REJECTED, reason=reason, **known)
    say(f"unseen failures: p = {last.chance:.3g}, gain {last.gain:+.0%}")
    kept, confirmed, lost = _protected(protected, pairs, say)
    known |= {"protected": kept, "confirmed": confirmed}
    if lost is not None:
        return CandidateResult(verdict=Verdict.REJECTED, reason=lost, **known)
    return CandidateResult(verdict=Verdict.ACCEPTED, reason=f"p = {last.chance:.3g}, gain {last.gain:+.0%}", **known)


def _mended(
    unseen: Sequence[Case], settings: Settings, pairs: Pairs, say: Callable[[str], None]
) -> tuple[list[CasePairs], Mend]:
    found: list[CasePairs] = []
    last = Mend(1.0, 0.0, decision=False)
    for look in range(1, settings.repeats + 1):
        found = [pairs.of(case, look) for case in unseen]
        last = mend(found, look=look, looks=settings.repeats, alpha=settings.alpha, candidates=settings.candidates)
        say(f"look {look} of {settings.repeats}: {sum(each.gain > 0 for each in found)} of {len(found)} cases gain")
        if last.decision is not None:
            break
    return found, last


def _protected(
    protected: Sequence[Case], pairs: Pairs, say: Callable[[str], None]
) -> tuple[tuple[CasePairs, ...], tuple[CasePairs, ...], str | None]:
    found = [pairs.of(case, 2) for case in protected]
    # A case that the old program does not pass today protects nothing. The report names it.
    kept = tuple(each for each in found if any(each.old))
    if not kept:
        return tuple(found), (), "unstable control: the old program passes no protected case"
    doubtful = suspects(kept)
    fresh = tuple(pairs.of(case, CONFIRMATIONS, label="again-") for case in protected if case.id in doubtful)
    say(f"{len(kept)} protected cases: {len(doubtful)} with a loss")
    if lost := broken(fresh):
        return tuple(found), fresh, f"breaks {lost[0].case} ({lost[0]})"
    if falls_together(kept):
        return tuple(found), fresh, f"the protected cases get worse as a whole (p = {chance_of_fall(kept):.3g})"
    return tuple(found), fresh, None
