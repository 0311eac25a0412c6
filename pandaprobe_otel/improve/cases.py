"""Cases of an improvement: recorded runs of one entry, split before anybody proposes a change."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import TypeAdapter

Part = Literal["shown", "unseen", "protected"]

MOST_SHOWN: Final = 10
_SHOWN_OF_TEN: Final = 3
"""Tenths of the failures that the proposer sees. The others decide."""
_WORD: Final = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A recorded run: its arguments, its cassette, and the failures in its trace."""

    id: str
    part: Part
    arguments: Any
    """By name, by position, or a single value. None: no arguments."""
    cassette: str
    """Path of the cassette, relative to the folder of the improvement."""
    calls: int
    """Recorded model calls, from which the largest cost of a run is computed."""
    fingerprints: tuple[str, ...] = ()
    """Fingerprints of the failures to fix. Empty for a protected case."""
    titles: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Write the case as a file of its part."""
        path = folder / "cases" / self.part / f"{self.id}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False), encoding="utf-8")


def read_cases(folder: Path) -> tuple[Case, ...]:
    """Return all cases of an improvement, by id."""
    reader = TypeAdapter(Case)
    found = [reader.validate_json(path.read_bytes()) for path in sorted((folder / "cases").glob("*/*.json"))]
    return tuple(sorted(found, key=lambda case: case.id))


def split(inputs: Mapping[str, Any], sessions: Mapping[str, str | None]) -> dict[str, Part]:
    """Return for each failed run whether the proposer sees it.

    The choice follows a hash of the input's words without numbers. Runs of one session or with nearly the same input
    stay together, so that no unseen case is a copy of a shown one.
    """
    families = _families(inputs, sessions)
    order = sorted(set(families.values()), key=lambda family: hashlib.sha256(family.encode()).digest())
    wanted = max(1, min(MOST_SHOWN, len(inputs) * _SHOWN_OF_TEN // 10))
    parts: dict[str, Part] = {}
    shown = 0
    for family in order:
        members = [name for name, each in families.items() if each == family]
        is_shown = shown + len(members) <= wanted or (
            shown == 0 and len(order) > 1 and len(members) <= len(inputs) // 2
        )
        shown += len(members) if is_shown else 0
        parts.update(dict.fromkeys(members, "shown" if is_shown else "unseen"))
    return parts


def shape_of(value: Any) -> str:
    """Return the words of an input in order, without numbers, case and punctuation."""
    return " ".join(_WORD.findall(json.dumps(value, ensure_ascii=False, sort_keys=True, default=str).lower()))


def _families(inputs: Mapping[str, Any], sessions: Mapping[str, str | None]) -> dict[str, str]:
    """Return the family of each run. Runs that share words or a session are in one family, also indirectly."""
    joined: dict[str, str] = {}

    def first(name: str) -> str:
        while joined.setdefault(name, name) != name:
            name = joined[name]
        return name

    for name, value in inputs.items():
        words, session = first(f"words {shape_of(value)}"), sessions.get(name)
        if session:
            low, high = sorted((words, first(f"session {session}")))
            joined[low] = high  # The words come last in the order, and name the family.
    return {name: first(f"words {shape_of(value)}") for name, value in inputs.items()}


def copied_inputs(text: str, shown: Sequence[Any], *, before: str = "") -> tuple[str, ...]:
    """Return passages of shown inputs that a changed file newly contains: eight words in a row, or an identifier.

    A rule that lists the failed examples would fix only these.
    """
    found: list[str] = []
    normal, old = _normal(text), _normal(before)
    for value in shown:
        whole = json.dumps(value, ensure_ascii=False, default=str)
        passages = [*_runs_of_words(whole), *_identifiers(whole)]
        found.extend(passage for passage in passages if _normal(passage) in normal and _normal(passage) not in old)
    return tuple(dict.fromkeys(found))


def _normal(text: str) -> str:
    words = " ".join(re.findall(r"[\w-]+", text.lower()))
    return f" {words} "


def _runs_of_words(text: str, length: int = 8) -> list[str]:
    words = re.findall(r"[\w-]+", text)
    return [" ".join(words[start : start + length]) for start in range(len(words) - length + 1)]


def _identifiers(text: str) -> list[str]:
    return [word for word in re.findall(r"[\w-]{4,}", text) if any(letter.isdigit() for letter in word)]
