"""Proposed edits of a project: the files to change, and notes for its author."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pandaprobe_otel.app_setup.dependency_files import Declaration, declaration, install_command, scripts
from pandaprobe_otel.app_setup.edits import is_provider, with_handler, with_init, with_provider
from pandaprobe_otel.app_setup.entry_points import EntryPoint, entry_points
from pandaprobe_otel.app_setup.imports import (
    has_model_instrumentation,
    imported,
    libraries_in,
    other_products,
)
from pandaprobe_otel.app_setup.sources import MAX_FILES, Source, Sources, read_source, read_sources

BY_HAND: Final = ("import pandaprobe_otel", "pandaprobe_otel.init()")
"""Lines for an author who adds them by hand."""


@dataclass(frozen=True, slots=True)
class Edit:
    """New content of one file, as bytes in the file's own encoding."""

    path: Path
    before: bytes
    after: bytes

    def diff(self) -> str:
        """Return the unified diff."""
        before, after = (
            text.decode("utf-8", "replace").splitlines(keepends=True) for text in (self.before, self.after)
        )
        return "".join(difflib.unified_diff(before, after, f"a/{self.path.as_posix()}", f"b/{self.path.as_posix()}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Edits of a project, the requirement to install, and notes."""

    edits: tuple[Edit, ...]
    requirement: str
    libraries: tuple[str, ...]
    """Integrations whose libraries the project imports."""
    install: str
    """Command that installs the requirement."""
    notes: tuple[str, ...]
    choices: tuple[EntryPoint, ...] = ()
    """Entry points of which the user must choose one. Nothing is edited until then."""
    by_hand: bool = False
    """True if there is no place for the lines, so that the author must add `BY_HAND`."""
    is_set_up: bool = False
    """True if the project calls `init()` or has a processor of this library already."""


def propose(root: Path, *, version: str, entry: Path | None = None) -> Proposal:
    """Propose the set-up of a project. `entry` names the file to edit. Raises ValueError if it is not a Python file."""
    sources = read_sources(root)
    everything = frozenset[str]().union(*(imported(source.tree) for source in sources.files))
    libraries = tuple(sorted(libraries_in(everything)))
    extras = f"[{','.join(name.replace('_', '-') for name in libraries)}]" if libraries else ""
    requirement = f"pandaprobe-otel{extras}>={version}"
    if any(_is_ours(name) for name in everything):
        return _nothing(
            requirement, libraries, root, ("This project imports pandaprobe_otel already.",), is_set_up=True
        )
    notes = _notes(sources, everything, libraries)
    chosen = _named(root, entry, sources) if entry is not None else entry_points(sources, scripts(root))
    if entry is None and (provider := _provider_edit(sources, everything)) is not None:
        return _complete(root, [provider], requirement, libraries, notes)
    if len(chosen) > 1 and chosen[0].kind != "django":
        return _nothing(requirement, libraries, root, notes, choices=chosen)
    edits = [edit for point in chosen if (edit := _edit(point)) is not None]
    if not edits or len(edits) < len(chosen):
        return _nothing(requirement, libraries, root, (*notes, *_why_by_hand(root, chosen)), by_hand=True)
    return _complete(root, edits, requirement, libraries, (*notes, *(f"{_posix(one)}: {one.reason}" for one in chosen)))


def _complete(
    root: Path, edits: list[Edit], requirement: str, libraries: tuple[str, ...], notes: Sequence[str]
) -> Proposal:
    declared = declaration(root, requirement)
    if declared is not None and not declared.is_there:
        edits = [*edits, _edit_of_declaration(declared)]
    return Proposal(
        edits=tuple(edits),
        requirement=requirement,
        libraries=libraries,
        install=install_command(root, requirement, is_declared=declared is not None),
        notes=tuple(notes),
    )


def _nothing(
    requirement: str,
    libraries: tuple[str, ...],
    root: Path,
    notes: Sequence[str],
    *,
    choices: tuple[EntryPoint, ...] = (),
    by_hand: bool = False,
    is_set_up: bool = False,
) -> Proposal:
    return Proposal(
        edits=(),
        requirement=requirement,
        libraries=libraries,
        install=install_command(root, requirement, is_declared=False),
        notes=tuple(notes),
        choices=choices,
        by_hand=by_hand,
        is_set_up=is_set_up,
    )


def _notes(sources: Sources, everything: frozenset[str], libraries: tuple[str, ...]) -> tuple[str, ...]:
    notes = [f"{product} stays in place; both receive the traces." for product in sorted(other_products(everything))]
    if not libraries:
        notes.append("No supported library is imported, so traces will contain only decorated functions.")
    if sources.is_cut:
        notes.append(f"Only the first {MAX_FILES} Python files were read.")
    if sources.unreadable:
        names = ", ".join(path.as_posix() for path in sources.unreadable[:3])
        notes.append(f"{len(sources.unreadable)} Python files could not be read, such as {names}.")
    return tuple(notes)


def _why_by_hand(root: Path, chosen: Sequence[EntryPoint]) -> tuple[str, ...]:
    if chosen:
        return (f"{_posix(chosen[0])} has no place for two lines that would leave the rest unchanged.",)
    if any(root.glob("*.ipynb")):
        return ("A notebook starts in its first cell: put the lines there.",)
    return ("No module was found in which the program starts.",)


def _posix(point: EntryPoint) -> str:
    return point.source.path.as_posix()


def _is_ours(name: str) -> bool:
    return name == "pandaprobe_otel" or name.startswith("pandaprobe_otel.")


def _named(root: Path, entry: Path, sources: Sources) -> tuple[EntryPoint, ...]:
    path = entry.resolve()
    if not path.is_relative_to(root.resolve()):
        raise ValueError(f"{entry} is outside of {root}")
    inside = path.relative_to(root.resolve())
    source = next((each for each in sources.files if each.path == inside), None) or read_source(root, inside)
    if source is None:
        raise ValueError(f"{entry} is not a readable Python file")
    return (EntryPoint(source, "main", "named by --entry"),)


def _provider_edit(sources: Sources, everything: frozenset[str]) -> Edit | None:
    """Return the edit after the project's own `TracerProvider`, if exactly one module creates it."""
    makers = [each for each in sources.files if any(is_provider(node) for node in ast.walk(each.tree))]
    if len(makers) != 1:
        return None
    if has_model_instrumentation(everything):  # Its spans exist already, so only the processor is missing.
        statement = "{provider}.add_span_processor(pandaprobe_otel.PandaProbeSpanProcessor())"
    else:
        statement = "pandaprobe_otel.init(tracer_provider={provider})"
    return _as_edit(makers[0], with_provider(makers[0], statement))


def _edit(point: EntryPoint) -> Edit | None:
    if point.handler is not None:
        return _as_edit(point.source, with_handler(point.source, point.handler))
    return _as_edit(point.source, with_init(point.source))


def _as_edit(source: Source, text: str | None) -> Edit | None:
    if text is None:
        return None
    return Edit(source.path, source.text.encode(source.encoding), text.encode(source.encoding))


def _edit_of_declaration(declared: Declaration) -> Edit:
    return Edit(declared.path, declared.before.encode(), declared.after.encode())
