"""Python files of a project, parsed, within bounds."""

from __future__ import annotations

import ast
import io
import os
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

MAX_FILES: Final = 2_000
MAX_BYTES: Final = 1_000_000
_SKIPPED: Final = frozenset(
    {"node_modules", "site-packages", "venv", "env", "build", "dist", "__pycache__", "tests", "test", "docs"}
)
"""Folders without entry points of an app."""


@dataclass(frozen=True, slots=True)
class Source:
    """A Python file: its text with its original line ends, its encoding, and its syntax tree."""

    path: Path
    """Relative to the project."""
    text: str
    encoding: str
    tree: ast.Module

    @property
    def module(self) -> str:
        """Dotted name, without `src/`. A package has the name of its folder."""
        parts = list(self.path.with_suffix("").parts)
        if parts[0] == "src":
            del parts[0]
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@dataclass(frozen=True, slots=True)
class Sources:
    """Python files of a project by path, and the files that were not read."""

    files: tuple[Source, ...]
    unreadable: tuple[Path, ...]
    """Files that are too large or are not valid Python in their encoding."""
    is_cut: bool
    """True if there are more than `MAX_FILES`."""


def read_sources(root: Path) -> Sources:
    """Read the project's Python files, except environments, tests and files outside of the folder."""
    paths = list(islice(_python_files(root), MAX_FILES + 1))
    found = {path: read_source(root, path) for path in paths[:MAX_FILES]}
    return Sources(
        files=tuple(source for source in found.values() if source is not None),
        unreadable=tuple(path for path, source in found.items() if source is None),
        is_cut=len(paths) > MAX_FILES,
    )


def read_source(root: Path, path: Path) -> Source | None:
    """Parse one file; return None if that fails."""
    try:
        if (root / path).stat().st_size > MAX_BYTES:
            return None
        data = (root / path).read_bytes()
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
        return Source(path, text, encoding, ast.parse(text))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _python_files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):  # Links to folders are not followed.
        here = Path(folder)
        folders[:] = sorted(name for name in folders if not _is_skipped(here / name))
        for name in sorted(names):
            if name.endswith(".py") and not (here / name).is_symlink():
                yield (here / name).relative_to(root)


def _is_skipped(folder: Path) -> bool:
    return folder.name.startswith(".") or folder.name in _SKIPPED or (folder / "pyvenv.cfg").exists()
