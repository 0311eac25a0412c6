"""Hooks of the integrations on agent frameworks, and the hooks in which tests plant content.

Integrations and tests are read as text, since the frameworks cannot be installed together.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pandaprobe_otel_integrations

ROOT: Final = Path(__file__).resolve().parents[2]
FRAMEWORKS: Final = ROOT / "tests" / "frameworks"
_INTEGRATIONS: Final = Path(pandaprobe_otel_integrations.__path__[0])
_HOOKING: Final = frozenset({"patch", "_surround"})
"""Functions that put a hook on an owner (first argument) under a name (second argument)."""
_MODULES: Final = frozenset({"module", "messages", "described", "embedders"})
TABLES: Final = {
    "crewai": (("steps.py", "BEGINS"), ("descriptions.py", "_TOLD_BESIDE")),
    "haystack": (("descriptions.py", "_OPERATIONS"),),
    "llama_index": (("kinds.py", "_CALLS"),),
    "mcp": (("other_requests.py", "TOLD"),),
    "pydantic_ai": (("__init__.py", "_INSTRUMENTED"),),
}
"""Tables of integrations that install many hooks in one place."""


def hooks(library: str) -> set[str]:
    """Return the hooks of an integration: methods that it wraps, callbacks, and rows of its tables."""
    files = {path.name: ast.parse(path.read_text("utf-8")) for path in sorted((_INTEGRATIONS / library).glob("*.py"))}
    found = {hook for tree in files.values() for hook in _in_file(tree)}
    for name, table in TABLES.get(library, ()):
        found |= set(_rows(_constants(files[name])[table]))
    return found


def plants(library: str) -> set[str]:
    """Return the hooks in which a framework's tests plant content, as named by `@pytest.mark.plants(...)`."""
    return {hook for path in FRAMEWORKS.glob(f"test_{library}*.py") for hook in _marks(path)}


def _in_file(tree: ast.Module) -> Iterator[str]:
    yield from _wrapped(tree, _constants(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef)) and method.name.startswith("on_"):
                    yield method.name


def _wrapped(node: ast.AST, known: dict[str, ast.expr]) -> Iterator[str]:
    """Yield the hooks below a node; `known` has the values of names."""
    if isinstance(node, (ast.For, ast.comprehension)):
        known = {**known, **dict(_targets(node.target, node.iter, known))}
    if isinstance(node, (ast.GeneratorExp, ast.ListComp)):
        for generator in node.generators:
            known = {**known, **dict(_targets(generator.target, generator.iter, known))}
    if isinstance(node, ast.Call) and _name(node.func) in _HOOKING and len(node.args) > 1:
        yield from (_label(node.args[0], name) for name in _texts(node.args[1], known))
    for child in ast.iter_child_nodes(node):
        yield from _wrapped(child, known)


def _targets(target: ast.expr, values: ast.expr, known: dict[str, ast.expr]) -> Iterator[tuple[str, ast.expr]]:
    """Yield the values that a loop's names take; a loop over pairs gives their first members to the first name."""
    values = known.get(values.id, values) if isinstance(values, ast.Name) else values
    if isinstance(target, ast.Name):
        yield target.id, values
    elif isinstance(target, ast.Tuple) and isinstance(values, (ast.Tuple, ast.List)):
        for at, each in enumerate(target.elts):
            members = [row.elts[at] for row in values.elts if isinstance(row, ast.Tuple) and at < len(row.elts)]
            if isinstance(each, ast.Name) and members:
                yield each.id, ast.Tuple(elts=members)


def _label(owner: ast.expr, name: str) -> str:
    """Return the class and the name of a hook; for functions, and for methods of other modules, only the name."""
    if isinstance(owner, ast.Call) and owner.args and isinstance(owner.args[0], ast.Attribute):
        owner = owner.args[0]  # of `definer(module.Agent, ...)`, take `module.Agent`
    if isinstance(owner, ast.Call) and _name(owner.func) == "import_module":
        return name
    told = ast.unparse(owner).removeprefix("module.")
    return name if told in _MODULES else f"{told.removeprefix('messages.').removeprefix('models.')}.{name}"


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Name):
        return function.id
    return function.attr if isinstance(function, ast.Attribute) else ""


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    return {
        node.target.id: node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None
    }


def _texts(value: ast.expr, known: dict[str, ast.expr]) -> Sequence[str]:
    """Return the texts that a value is or contains; a value that cannot be read is returned as source code."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return [value.value]
    if isinstance(value, ast.Name) and value.id in known:
        return _texts(known[value.id], {name: each for name, each in known.items() if name != value.id})
    if isinstance(value, (ast.Tuple, ast.List, ast.Set)):
        return [text for each in value.elts for text in _texts(each, known)]
    return [f"<{ast.unparse(value)}>"]


def _rows(table: ast.expr) -> Iterator[str]:
    """Yield the names of the rows: keys, texts, or first members."""
    if isinstance(table, ast.Call):  # `frozenset({...})`
        table = table.args[0]
    rows = table.keys if isinstance(table, ast.Dict) else getattr(table, "elts", [])
    for row in rows:
        first = row.elts[0] if isinstance(row, ast.Tuple) else row
        assert isinstance(first, ast.Constant), ast.unparse(table)
        yield str(first.value)


def _marks(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "plants":
            yield from (str(each.value) for each in node.args if isinstance(each, ast.Constant))
