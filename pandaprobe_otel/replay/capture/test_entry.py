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

from pandaprobe_otel.replay.capture.requirements import REPR
from pandaprobe_otel.replay.capture.source_text import is_name, literal
from pandaprobe_otel.replay.capture.stored_trace import CannotCapture, StoredTrace, check_whole, texts_in

_ENTRY: Final = re.compile(r"^([A-Za-z_][\w.]*):([A-Za-z_]\w*)$")
_TAKEN: Final = frozenset({"asyncio", "json", "list", "probe", "pandaprobe_recording", "pytest", "run"})
"""Names that mean something else in a test."""
_INSTALLED: Final = frozenset({"site-packages", "dist-packages", "node_modules"})
_MAX_SOURCE: Final = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A function to call. `module` is None if it is unknown, and the test then has a line to fill in."""

    module: str | None
    name: str
    function: ast.FunctionDef | ast.AsyncFunctionDef | None = None
    """Its definition; None if its source was not found."""
    refused: str | None = None
    """The function that the trace names, if it is none of the project: a trace may come from anybody."""

    @property
    def parameters(self) -> tuple[str, ...] | None:
        """Names of its parameters; None if they are unknown."""
        if self.function is None:
            return None
        return tuple(one.arg for one in (*self.function.args.args, *self.function.args.kwonlyargs))

    @property
    def is_coroutine(self) -> bool:
        """True if the function is asynchronous."""
        return isinstance(self.function, ast.AsyncFunctionDef)

    @property
    def is_generator(self) -> bool:
        """True if the function yields. A yield in a nested function does not count."""
        waiting: list[ast.AST] = [] if self.function is None else list(self.function.body)
        while waiting:
            node = waiting.pop()
            if isinstance(node, (ast.Yield, ast.YieldFrom)):
                return True
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
                waiting += ast.iter_child_nodes(node)
        return False


def entry_of(trace: StoredTrace, *, given: str | None = None, folder: Path | None = None) -> Entry:
    """Return the function to call: the given one, the trace's own, or that of pyproject.toml.

    The test will import and call it with the trace's arguments. So a function that only the trace names must be defined
    in a file below the folder that belongs to no environment and hides no module of Python's.

    Raises ValueError for an invalid name.
    """
    base = folder or Path.cwd()
    named = None if given else _entry_of(trace)
    own = None if named is None else _defined(*named, [base, base / "src"], within=base)
    if named is not None and own is not None:
        return Entry(module=named[0], name=named[1], function=own)
    told = given or _configured(base)
    if told is None:
        return Entry(module=None, name=_plain(trace.root.name), refused=None if named is None else ":".join(named))
    match = _ENTRY.match(told)
    if match is None or not all(map(is_name, (*match[1].split("."), match[2]))):
        raise ValueError(f"{told!r} is not the name of a function: write module:function, such as app.agents:answer")
    places = [base, base / "src", *map(Path, sys.path)]
    return Entry(module=match[1], name=match[2], function=_defined(match[1], match[2], places, within=None))


def arguments_of(trace: StoredTrace, entry: Entry) -> tuple[str, ...]:
    """Return the arguments of the root span as Python code. Raises CannotCapture for arguments that are not JSON."""
    root = trace.root
    given: Any = root.input
    check_whole(given, "the program's input")
    if any(REPR.search(text) for text in texts_in(given)):
        raise CannotCapture("an argument of the program is an object, and the trace has only its name")
    if given is None:
        return ()
    if _is_by_name(given, entry, has_defaults="defaults" in root.metadata):
        if not all(map(is_name, given)):
            return (f"**{literal(given)}",)
        return tuple(f"{name}={literal(value)}" for name, value in given.items())
    return (f"{entry.parameters[0]}={literal(given)}" if entry.parameters else literal(given),)


def _is_by_name(given: Any, entry: Entry, *, has_defaults: bool) -> bool:
    """Return whether an input maps argument names to values, and is not itself the only argument."""
    if not isinstance(given, Mapping) or not given or has_defaults:
        return False
    names = [str(name) for name in given]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if entry.parameters is not None:
        return any(name in entry.parameters for name in names)
    return all(map(is_name, names))


def _entry_of(trace: StoredTrace) -> tuple[str, str] | None:
    """Return the root span's module and function if it can be imported: not a method, and not a nested function."""
    told = str(trace.root.metadata.get("code.function.name") or "")
    module, _, name = told.rpartition(".")
    if module == "__main__" or not all(map(is_name, (*module.split("."), name))):
        return None
    if any(part[:1].isupper() for part in module.split(".")):
        return None  # A method is not usable, since the trace does not identify its object.
    return module, name


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


def _defined(
    module: str, name: str, places: Sequence[Path], *, within: Path | None
) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """Return the definition of a function without importing anything, since an import might run the program."""
    parts = module.split(".")
    if within is not None and parts[0] in sys.stdlib_module_names:
        return None
    for place in dict.fromkeys(places):
        for file in (place.joinpath(*parts).with_suffix(".py"), place.joinpath(*parts, "__init__.py")):
            try:
                if file.stat().st_size > _MAX_SOURCE or not (within is None or _is_own(file, within)):
                    continue
                tree = ast.parse(file.read_text(encoding="utf-8"))
            except (OSError, ValueError, SyntaxError):
                continue
            for node in tree.body:
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == name:
                    return node
    return None


def _is_own(file: Path, folder: Path) -> bool:
    """Return whether a file is the user's own: below the folder, and not in an environment or an installed package."""
    real, base = file.resolve(), folder.resolve()
    if not real.is_relative_to(base) or not _INSTALLED.isdisjoint(real.relative_to(base).parts):
        return False
    above = [one for one in real.parents if one.is_relative_to(base)]
    return not any((one / "pyvenv.cfg").exists() for one in above)


def _plain(name: str) -> str:
    """Return a name as a valid Python identifier."""
    plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_").lower()
    return plain if is_name(plain) and plain not in _TAKEN else f"run_{plain}"
