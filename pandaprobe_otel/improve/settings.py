"""Settings of an improvement, fixed at its start, and the journal of its steps."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of an improvement. They do not change after its start, so that no result can choose its own test."""

    root: str
    """The project."""
    entry: str
    """MODULE:FUNCTION."""
    allowed: tuple[str, ...]
    """Patterns of the files that a candidate may change."""
    checks: tuple[str, ...] = ()
    """MODULE:FUNCTION of functions of the answer and the trace, which return True for a good run."""
    live_tools: tuple[str, ...] = ()
    repeats: int = 3
    candidates: int = 3
    """Maximum number of candidates. Each is one more chance to be lucky, so the level of the test is divided by their
    number.
    """
    alpha: float = 0.05
    most_live: int = 0
    """Maximum number of model calls, over all runs."""
    timeout_s: float = 300.0
    """Timeout of one run."""

    def write(self, folder: Path) -> None:
        """Write the settings into the folder of the improvement. Raises FileExistsError if it has settings already."""
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "run.json").open("x", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=1)


def read_settings(folder: Path) -> Settings:
    """Return the settings of an improvement. Raises FileNotFoundError or ValueError."""
    return TypeAdapter(Settings).validate_json((folder / "run.json").read_bytes())


class Journal:
    """Append-only file of steps, one JSON object per line. Each step is written before and after it is made."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "events.jsonl"

    def note(self, step: str, **fields: Any) -> None:
        """Append a step, and wait until it is on disk."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **fields}, ensure_ascii=False, default=str) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def events(self) -> list[Mapping[str, Any]]:
        """Return the steps so far, without a last line that an interruption cut off."""
        if not self._path.exists():
            return []
        found: list[Mapping[str, Any]] = []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def live_calls(self) -> int:
        """Return the number of calls sent to models so far.

        For an interrupted run, this number is unknown, so the limit of the run is added.
        """
        sent: dict[str, int] = {}
        for event in self.events():
            if event["step"] == "run began":
                sent[event["run"]] = sent.get(event["run"], 0) + event["at_most"]
            elif event["step"] == "run ended":
                sent[event["run"]] += event["live"] - event["at_most"]
        return sum(sent.values())
