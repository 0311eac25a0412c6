"""Pairs of runs of old and new program on one case, each in a separate process, saved as files and never repeated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from pandaprobe_otel.improve.acceptance import CasePairs
from pandaprobe_otel.improve.cases import Case
from pandaprobe_otel.improve.one_run import Job
from pandaprobe_otel.improve.settings import Journal, Settings

_ROOM_FOR_NEW_CALLS: Final = 2
"""Factor of the recorded calls that a run may send: a changed program may make more calls, but not without limit."""
_MOST_OF_A_LINE: Final = 500


class BudgetSpent(Exception):
    """The next run could send more calls than are left."""


class RunFailed(Exception):
    """A run ended without a result, so that it proves nothing."""


class Pairs:
    """Runs of one candidate. `folder` is that of the improvement, `copy` the changed project."""

    def __init__(self, folder: Path, settings: Settings, *, candidate: int, copy: Path) -> None:
        self._folder = folder
        self._settings = settings
        self._copy = copy
        self._kept = folder / "candidates" / str(candidate) / "pairs"
        self._journal = Journal(folder)

    def of(self, case: Case, repeats: int, *, label: str = "") -> CasePairs:
        """Return `repeats` pairs of a case. Pairs with both files are not run again.

        The new side runs first. Its first live call is where the change takes effect, and the old side goes live at the
        same call. So both sides share everything before it, and get fresh answers from there on.
        """
        old: list[bool] = []
        new: list[bool] = []
        for repeat in range(1, repeats + 1):
            name = f"{label}{repeat}"
            after = self._run(case, name, side="new", kept=None)
            kept = tuple(after["played"]) if after["live"] else None
            before = self._run(case, name, side="old", kept=kept)
            new.append(after["passed"])
            old.append(before["passed"])
        return CasePairs(case.id, tuple(old), tuple(new))

    def new_side(self, case: Case) -> bool:
        """Return whether the new program passes a case, in one run."""
        return bool(self._run(case, "look", side="new", kept=None)["passed"])

    def _run(self, case: Case, name: str, *, side: str, kept: tuple[int, ...] | None) -> Mapping[str, Any]:
        result = self._kept / case.id / f"{name}.{side}.json"
        if (known := _read(result)) is not None:
            return known
        result.parent.mkdir(parents=True, exist_ok=True)
        left = self._settings.most_live - self._journal.live_calls()
        at_most = max(0, min(left, max(1, case.calls) * _ROOM_FOR_NEW_CALLS))
        run = f"{result.relative_to(self._folder).as_posix()}"
        self._journal.note("run began", run=run, at_most=at_most)
        job = Job(
            folder=str(self._copy if side == "new" else Path(self._settings.root)),
            entry=self._settings.entry,
            arguments=case.arguments,
            cassette=str(self._folder / case.cassette),
            traces=str(result.with_suffix(".traces.jsonl")),
            result=str(result.with_suffix(".part")),
            kept=kept,
            mended=case.fingerprints,
            checks=self._settings.checks,
            live_tools=self._settings.live_tools,
            most_live=at_most,
        )
        found = _make(job, timeout_s=self._settings.timeout_s)
        live = min(found["live"], at_most)
        self._journal.note("run ended", run=run, at_most=at_most, live=live, passed=found["passed"])
        if found["over_budget"]:
            raise BudgetSpent(f"a run of {case.id} makes more than the allowed {at_most} model calls")
        os.replace(job.result, result)
        return found


def _make(job: Job, *, timeout_s: float) -> Mapping[str, Any]:
    """Make a run and return its result. Its output is saved beside the result, and not kept in memory."""
    for leftover in (job.traces, job.result):
        Path(leftover).unlink(missing_ok=True)
    printed = Path(job.result).with_suffix(".txt")
    command = [sys.executable, "-m", "pandaprobe_otel.improve.one_run"]
    try:
        with printed.open("wb") as out:
            done = subprocess.run(
                command,
                input=json.dumps(asdict(job)).encode(),
                env=_environment(job),
                cwd=job.folder,
                stdout=out,
                stderr=out,
                timeout=timeout_s,
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise RunFailed(f"{job.entry} took longer than {timeout_s:.0f} s") from None
    if done.returncode == 0 and (found := _read(Path(job.result))) is not None:
        return found
    raise RunFailed(f"{job.entry} ended with exit code {done.returncode}: {_last_line(printed)}")


def _last_line(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _MOST_OF_A_LINE))
        lines = file.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it printed nothing"


def _environment(job: Job) -> dict[str, str]:
    """Return the environment of this process without variables that would send the run's traces elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PANDAPROBE_", "OTEL_"))}
    return {**kept, "PYTHONPATH": os.pathsep.join([job.folder, kept.get("PYTHONPATH", "")]).rstrip(os.pathsep)}


def _read(path: Path) -> Mapping[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found
