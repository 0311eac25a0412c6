"""Candidates of an improvement, on disk: requested, checked, saved, applied."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from pandaprobe_otel.improve.acceptance import Verdict
from pandaprobe_otel.improve.candidate import Candidate, apply_to, check, diff
from pandaprobe_otel.improve.proposing import Proposer, Request, proposed
from pandaprobe_otel.improve.settings import Journal, Settings, read_settings
from pandaprobe_otel.improve.trial import CandidateResult
from pandaprobe_otel.improve.trial_report import pull_request, report


class NoCandidate(Exception):
    """The candidate does not exist, or it exceeds the limit."""


def propose(folder: Path, proposer: Proposer) -> Candidate:
    """Request the next candidate, check it and save it. Raises NoCandidate with the reason if it may not run.

    Each attempt counts, even if it is refused: the level of the test depends on the number of attempts allowed.
    """
    settings, number = read_settings(folder), _next_number(folder)
    if number > settings.candidates:
        raise NoCandidate(f"{settings.candidates} candidates were allowed at the start, and all were used")
    bundle: dict[str, Any] = json.loads((folder / "evidence" / "bundle.json").read_text(encoding="utf-8"))
    place = folder / "candidates" / str(number)
    place.mkdir(parents=True)
    Journal(folder).note("asked", candidate=number)
    with tempfile.TemporaryDirectory(prefix="pandaprobe-propose-") as work:
        request = Request(
            evidence=bundle,
            workdir=Path(work) / "project",
            allowed=settings.allowed,
            attempt=number,
            earlier=tuple(_earlier(folder, number)),
        )
        (place / "request.json").write_text(request.as_json(folder / "evidence" / "bundle.json"), encoding="utf-8")
        response = proposed(proposer, request, Path(settings.root))
    kept = {"files": dict(response.files), "rationale": response.rationale, "declines": response.declines}
    (place / "response.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False), encoding="utf-8")
    if response.declines:
        raise NoCandidate(f"the proposer declines: {response.declines}")
    root = Path(settings.root)
    files = {name: text for name, text in response.files.items() if _digest_of(root / name) != _digest(text)}
    candidate = Candidate(number=number, files=files, rationale=response.rationale)
    refused = check(
        candidate,
        root,
        allowed=settings.allowed,
        measures=_measures(settings),
        shown=[each["input"] for each in bundle["cases"]],
    )
    if refused is not None:
        result = CandidateResult(verdict=Verdict.REJECTED, reason=refused.reason)
        (place / "verdict.json").write_text(result.as_json(), encoding="utf-8")
        Journal(folder).note("refused", candidate=number, reason=refused.reason)
        raise NoCandidate(refused.reason)
    (place / "change.diff").write_text(diff(root, files), encoding="utf-8")
    (place / "rationale.md").write_text(response.rationale + "\n", encoding="utf-8")
    before = {name: _digest_of(root / name) for name in files}
    (place / "before.json").write_text(json.dumps(before), encoding="utf-8")
    Journal(folder).note("proposed", candidate=number, files=sorted(files))
    return candidate


def read_candidate(folder: Path, number: int | None = None) -> Candidate:
    """Return a candidate, the newest by default. Raises NoCandidate."""
    number = number or _next_number(folder) - 1
    place = folder / "candidates" / str(number)
    if not (place / "change.diff").exists():
        raise NoCandidate(f"{place} has no candidate that may run")
    kept: dict[str, Any] = json.loads((place / "response.json").read_text(encoding="utf-8"))
    before: dict[str, Any] = json.loads((place / "before.json").read_text(encoding="utf-8"))
    files = {name: text for name, text in kept["files"].items() if name in before}
    return Candidate(number=number, files=files, rationale=kept["rationale"])


def write_report(folder: Path, candidate: Candidate, result: CandidateResult) -> Path:
    """Write the report of a test, and the text of a pull request if the candidate was accepted."""
    settings = read_settings(folder)
    path = folder / "candidates" / str(candidate.number) / "report.md"
    path.write_text(report(folder, settings, candidate, result), encoding="utf-8")
    if result.verdict is Verdict.ACCEPTED:
        (folder / "pull_request.md").write_text(pull_request(folder, settings, candidate, result), encoding="utf-8")
    return path


def read_result(folder: Path, number: int) -> CandidateResult:
    """Return the verdict of a test. Raises NoCandidate if there is none."""
    path = folder / "candidates" / str(number) / "verdict.json"
    if not path.exists():
        raise NoCandidate(f"candidate {number} was not tested: run `improve test` first")
    return TypeAdapter(CandidateResult).validate_json(path.read_bytes())


def apply(folder: Path, candidate: Candidate) -> tuple[Path, ...]:
    """Write an accepted candidate into the project; return the changed files.

    Raises NoCandidate if it was not accepted, or if a file was changed after the candidate was made.
    """
    settings, result = read_settings(folder), read_result(folder, candidate.number)
    if result.verdict is not Verdict.ACCEPTED:
        raise NoCandidate(f"candidate {candidate.number} is {result.verdict}: {result.reason}")
    root = Path(settings.root)
    place = folder / "candidates" / str(candidate.number)
    before: dict[str, str | None] = json.loads((place / "before.json").read_text(encoding="utf-8"))
    if changed := [name for name, digest in before.items() if _digest_of(root / name) != digest]:
        raise NoCandidate(
            f"{changed[0]} was changed after the test, so its result no longer applies: propose and test again"
        )
    apply_to(root, candidate.files)
    Journal(folder).note("applied", candidate=candidate.number)
    return tuple(Path(name) for name in sorted(candidate.files))


def _next_number(folder: Path) -> int:
    numbers = [int(path.name) for path in (folder / "candidates").glob("*") if path.name.isdigit()]
    return max(numbers, default=0) + 1


def _earlier(folder: Path, number: int) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for each in range(1, number):
        try:
            result = read_result(folder, each)
        except NoCandidate:
            continue
        found.append({"candidate": each, "verdict": result.verdict, "reason": result.reason})
    return found


def _measures(settings: Settings) -> tuple[str, ...]:
    return tuple(f"{name.partition(':')[0].replace('.', '/')}.py" for name in settings.checks)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _digest_of(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
