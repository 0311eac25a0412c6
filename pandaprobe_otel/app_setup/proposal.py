"""Proposed edits of a project: the files to change, and notes for its author."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pandaprobe_otel.app_setup.dependency_files import declaration, install_command, scripts
from pandaprobe_otel.app_setup.edits import Edit, is_provider, with_handler, with_init, with_provider
from pandaprobe_otel.app_setup.entry_points import EntryPoint, entry_points
from pandaprobe_otel.app_setup.imports import has_model_instrumentation, imported, libraries_in, other_products
from pandaprobe_otel.app_setup.sources import MAX_FILES, Source, Sources, read_source, read_sources

BY_HAND: Final = ("import pandaprobe_otel", "pandaprobe_otel.init()")
"""Lines for an author who adds them by hand."""


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
    install = install_command(root, requirement, is_declared=False)
    nothing = Proposal(edits=(), requirement=requirement, libraries=libraries, install=install, notes=())
    if any(name == "pandaprobe_otel" or name.startswith("pandaprobe_otel.") for name in everything):
        return replace(nothing, notes=("This project imports pandaprobe_otel already.",), is_set_up=True)
    notes = _notes(sources, everything, libraries)
    chosen = _named(root, entry, sources) if entry is not None else entry_points(sources, scripts(root))
    if entry is None and (provider := _provider_edit(sources, everything)) is not None:
        return _with_edits(nothing, root, [provider], notes)
    if len(chosen) > 1 and chosen[0].kind != "django":
        return replace(nothing, notes=notes, choices=chosen)
    edits = [edit for point in chosen if (edit := _edit(point)) is not None]
    if not edits or len(edits) < len(chosen):
        return replace(nothing, notes=(*notes, *_why_by_hand(root, chosen)), by_hand=True)
    return _with_edits(nothing, root, edits, (*notes, *(f"{_posix(one)}: {one.reason}" for one in chosen)))


def _with_edits(proposal: Proposal, root: Path, edits: list[Edit], notes: tuple[str, ...]) -> Proposal:
    """Return the proposal with edits, and with the edit that declares the requirement."""
    declared = declaration(root, proposal.requirement)
    if declared is not None and declared.before != declared.after:
        edits = [*edits, declared]
    install = install_command(root, proposal.requirement, is_declared=declared is not None)
    return replace(proposal, edits=tuple(edits), install=install, notes=notes)


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
    return None if text is None else Edit.of_text(source.path, source.text, text, source.encoding)
