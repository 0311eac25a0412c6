"""Entry of a test: the function that the trace's root span belongs to, and its arguments."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pandaprobe_otel.replay.answers.model_answer import check_whole, texts_in
from pandaprobe_otel.replay.cannot_capture import CannotCapture
from pandaprobe_otel.replay.capture.ordered_trace import StoredTrace, metadata_of
from pandaprobe_otel.replay.capture.requirements import REPR
from pandaprobe_otel.replay.capture.source_text import literal

_ENTRY: Final = re.compile(r"^([A-Za-z_][\w.]*):([A-Za-z_]\w*)$")
_MAX_SOURCE: Final = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A function to call. `module` is None if it is unknown, and the test then has a line to fill in."""

    module: str | None
    name: str
    parameters: tuple[str, ...] | None = None
    """Names of its parameters; None if its source was not found."""
    is_coroutine: bool = False
    is_generator: bool = False


def entry_of(trace: StoredTrace, *, given: str | None = None, folder: Path | None = None) -> Entry:
    """Return the function to call: the given one, the trace's own, or that of pyproject.toml.

    Raises ValueError for an invalid name.
    """
    base = folder or Path.cwd()
    told = given or _told_by(trace) or _configured(base)
    if told is None:
        return Entry(module=None, name=_plain(trace.root.name))
    match = _ENTRY.match(told)
    if match is None:
        raise ValueError(f"{told!r} is not the name of a function: write module:function, such as app.agents:answer")
    module, name = match[1], match[2]
    found = _defined(module, name, base)
    if found is None:
        return Entry(module=module, name=name)
    return Entry(
        module=module,
        name=name,
        parameters=_names_of(found),
        is_coroutine=isinstance(found, ast.AsyncFunctionDef),
        is_generator=_yields(found),
    )


def arguments_of(trace: StoredTrace, entry: Entry) -> tuple[str, ...]:
    """Return the arguments of the root span as Python code. Raises CannotCapture for arguments that are not JSON."""
    root = trace.root
    given: Any = root.input
    check_whole(given, "the program's input")
    if any(REPR.search(text) for text in texts_in(given)):
        raise CannotCapture("an argument of the program is an object, and the trace has only its name")
    if given is None:
        return ()
    if _is_by_name(given, entry, has_defaults="defaults" in metadata_of(root)):
        return tuple(f"{name}={literal(value)}" for name, value in given.items())
    return (f"{entry.parameters[0]}={literal(given)}" if entry.parameters else literal(given),)


def _is_by_name(given: Any, entry: Entry, *, has_defaults: bool) -> bool:
    """Return whether an input maps argument names to values, and is not itself the only argument."""
    if not isinstance(given, Mapping) or not given or has_defaults:
        return False
    names = [str(name) for name in given]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if entry.parameters is not None:
        return any(name in entry.parameters for name in names)
    return all(map(str.isidentifier, names))


def _told_by(trace: StoredTrace) -> str | None:
    """Return the root span's function if it can be imported: not a method, and not nested in another function."""
    told = str(metadata_of(trace.root).get("code.function.name") or "")
    module, _, name = told.rpartition(".")
    if not module or "<" in told or not name.isidentifier() or module == "__main__":
        return None
    if any(part[:1].isupper() for part in module.split(".")):
        return None  # A method is not usable, since the trace does not identify its object.
    return f"{module}:{name}"


def _configured(folder: Path) -> str | None:
    for place in (folder, *folder.parents):
        file = place / "pyproject.toml"
        if file.is_file():
            try:
                found: Any = tomllib.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                return None
            entry: Any = found.get("tool", {}).get("pandaprobe", {}).get("entry")
            return entry if isinstance(entry, str) else None
    return None


def _defined(module: str, name: str, folder: Path) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """Return the definition of a function without importing anything, since an import might run the program."""
    parts = module.split(".")
    for place in dict.fromkeys([folder, folder / "src", *map(Path, sys.path)]):
        for file in (place.joinpath(*parts).with_suffix(".py"), place.joinpath(*parts, "__init__.py")):
            try:
                if file.stat().st_size > _MAX_SOURCE:
                    continue
                tree = ast.parse(file.read_text(encoding="utf-8"))
            except (OSError, ValueError, SyntaxError):
                continue
            for node in tree.body:
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == name:
                    return node
    return None


def _names_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[str, ...]:
    given: Sequence[ast.arg] = (*function.args.args, *function.args.kwonlyargs)
    return tuple(one.arg for one in given)


def _yields(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether a function is a generator. A yield in a nested function does not count."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Yield, ast.YieldFrom)):
            return True
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            waiting += ast.iter_child_nodes(node)
    return False


def _plain(name: str) -> str:
    """Return a name as a valid Python identifier."""
    plain = re.sub(r"\W+", "_", name).strip("_").lower()
    return plain if plain.isidentifier() else f"run_{plain}"
