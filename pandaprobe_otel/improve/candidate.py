"""A candidate: files that somebody changed in a copy of the project, and the rules for them."""

from __future__ import annotations

import difflib
import fnmatch
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from pandaprobe_otel.improve.cases import copied_inputs

MAX_BYTES: Final = 256_000
_MEASURE: Final = (
    "tests/*", "test/*", "*/tests/*", "test_*.py", "*_test.py", "conftest.py", ".github/*", ".gitlab-ci.yml",
    "*cassette*", ".pandaprobe/*", ".ci/*",
)  # fmt: skip
"""Files that decide whether something passes. A change of them can never be a fix."""
_LEFT_OUT: Final = (
    ".git",
    ".pandaprobe",
    ".venv",
    "venv",
    "node_modules",
    "__pycache__",
    ".mypy_cache",
    ".pytest_cache",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A proposed change, with the reason that its author gives."""

    number: int
    files: Mapping[str, str]
    """New content by path. Files that are not allowed are refused before any run."""
    rationale: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """Reason why a candidate is rejected before it runs."""

    reason: str


def copy_project(root: Path, target: Path) -> None:
    """Copy a project without environments, caches, git's data and improvements. Links are copied as links."""
    shutil.copytree(root, target, symlinks=True, ignore=shutil.ignore_patterns(*_LEFT_OUT))


def changed_files(root: Path, copy: Path) -> dict[str, str]:
    """Return the text files of a copy that differ from the project. Raises ValueError for links and files that are not
    text.
    """
    changed: dict[str, str] = {}
    for folder, folders, names in os.walk(copy):
        folders[:] = sorted(name for name in folders if name not in _LEFT_OUT)
        for name in sorted(names):
            path = Path(folder) / name
            inside = path.relative_to(copy)
            if path.is_symlink():
                if not (root / inside).is_symlink():
                    raise ValueError(f"{inside.as_posix()} is a symbolic link")
                continue
            old = (root / inside).read_bytes() if (root / inside).is_file() else None
            if (new := path.read_bytes()) != old:
                changed[inside.as_posix()] = new.decode("utf-8")
    gone = [path for path in _files(root) if not (copy / path).exists()]
    if gone:
        raise ValueError(f"{gone[0].as_posix()} was deleted")
    return changed


def _files(root: Path) -> Iterable[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _LEFT_OUT]
        yield from ((Path(folder) / name).relative_to(root) for name in names)


def check(
    candidate: Candidate, root: Path, *, allowed: Sequence[str], measures: Sequence[str], shown: Sequence[Any]
) -> Refused | None:
    """Return the reason why a candidate must not run; None if it may.

    Args:
        candidate: The change.
        root: The project.
        allowed: Patterns of the files that may change.
        measures: Paths of the project's files that judge runs.
        shown: The inputs that the proposer has seen.
    """
    if sum(len(text.encode()) for text in candidate.files.values()) > MAX_BYTES:
        return Refused(f"too large: more than {MAX_BYTES // 1000} kB")
    before = {name: _text(root, name) for name in candidate.files}
    changed = {name: text for name, text in candidate.files.items() if text != before[name]}
    if not changed:
        return Refused("no change")
    for name, text in changed.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or (root / name).is_symlink():
            return Refused(f"not allowed: {name} is outside of the project, or a symbolic link")
        if not (root / name).resolve().is_relative_to(root.resolve()):
            return Refused(f"not allowed: {name} is outside of the project")
        if name in measures or any(fnmatch.fnmatch(name, pattern) for pattern in _MEASURE):
            return Refused(f"changes a file that judges runs: {name}")
        if not any(fnmatch.fnmatch(name, pattern) for pattern in allowed):
            return Refused(f"not allowed: {name} matches none of {', '.join(allowed)}")
        if copied := copied_inputs(text, shown, before=before[name] or ""):
            return Refused(f"copies an input: {name} contains {copied[0]!r} of a shown case")
    return None


def apply_to(root: Path, files: Mapping[str, str]) -> None:
    """Write the files of a candidate into a folder."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode("utf-8"))


def diff(root: Path, files: Mapping[str, str]) -> str:
    """Return the unified diff of a candidate against the project."""
    lines: list[str] = []
    for name, text in sorted(files.items()):
        before = (_text(root, name) or "").splitlines(keepends=True)
        lines.extend(difflib.unified_diff(before, text.splitlines(keepends=True), f"a/{name}", f"b/{name}"))
    return "".join(lines)


def _text(root: Path, name: str) -> str | None:
    try:
        return (root / name).read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError, ValueError):
        return None
