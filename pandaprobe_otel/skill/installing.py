"""Places of the skill in a project or home folder. Files that somebody has edited are never touched."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Final

_SHARED: Final = ".agents/skills"
AGENTS: Final = {
    "claude": (".claude/skills", (".claude",)),
    "cursor": (".cursor/skills", (".cursor",)),
    "copilot": (".github/skills", (".github/skills", ".github/copilot-instructions.md")),
}
"""Folders of agents that do not read the shared one, and the files that show whether a project uses the agent."""
_FILE: Final = Path("pandaprobe-otel", "SKILL.md")
_HASH: Final = re.compile(r'^  hash: "([0-9a-f]{16})"\n', re.MULTILINE)
_END: Final = "\n---\n"


class Outcome(StrEnum):
    """Result for a file."""

    WRITTEN = "written"
    CURRENT = "is current"
    EDITED = "was edited and stays"
    REMOVED = "removed"
    ABSENT = "is not there"


@dataclass(frozen=True, slots=True)
class Installed:
    """A file of the skill, with the result."""

    file: Path
    outcome: Outcome


def install(folder: Path, agents: Collection[str] = ()) -> list[Installed]:
    """Write the skill for all agents, and for those that are named or that the folder uses. Raises OSError."""
    return [Installed(file, _written(file)) for file in _files(folder, agents)]


def remove(folder: Path) -> list[Installed]:
    """Remove the files that `install` has written, and folders that are then empty. Raises OSError."""
    found = [Installed(file, _removed(file, folder)) for file in _files(folder, AGENTS)]
    return [one for one in found if one.outcome is not Outcome.ABSENT]


def skill_text() -> str:
    """Return the skill with its version and a hash that identifies edited files."""
    text = files("pandaprobe_otel.skill").joinpath("SKILL.md").read_text(encoding="utf-8")
    head, _, rest = text.partition(_END)
    told = f'{head}\nmetadata:\n  version: "{version("pandaprobe-otel")}"\n'
    hashed = _hash(f"{told}---\n{rest}")
    return f'{told}  hash: "{hashed}"\n---\n{rest}'


def _files(folder: Path, agents: Collection[str]) -> Iterator[Path]:
    yield folder / _SHARED / _FILE
    for name, (place, signs) in AGENTS.items():
        if name in agents or any((folder / sign).exists() for sign in signs):
            yield folder / place / _FILE


def _written(file: Path) -> Outcome:
    text = skill_text()
    if file.exists():
        found = file.read_text(encoding="utf-8", errors="replace")
        if found == text:
            return Outcome.CURRENT
        if _is_edited(found):
            return Outcome.EDITED
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return Outcome.WRITTEN


def _removed(file: Path, folder: Path) -> Outcome:
    if not file.exists():
        return Outcome.ABSENT
    if _is_edited(file.read_text(encoding="utf-8", errors="replace")):
        return Outcome.EDITED
    file.unlink()
    for parent in file.parents:
        if parent == folder or any(parent.iterdir()):
            break
        parent.rmdir()
    return Outcome.REMOVED


def _is_edited(text: str) -> bool:
    found = _HASH.search(text)
    return found is None or _hash(text.replace(found[0], "", 1)) != found[1]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
