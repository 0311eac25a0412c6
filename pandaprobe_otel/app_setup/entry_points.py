"""Modules in which a project starts."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pandaprobe_otel.app_setup.imports import libraries_in, reached
from pandaprobe_otel.app_setup.sources import Source, Sources

Kind = Literal["handler", "command", "main", "application", "django", "celery"]
_APPLICATIONS: Final = frozenset({"FastAPI", "Flask", "Starlette", "Quart", "Sanic", "Litestar"})


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """A module in which the project starts, and how this was recognised."""

    source: Source
    kind: Kind
    reason: str
    """The line that shows that the project starts here, such as `[project.scripts] shop`."""
    handler: str | None = None
    """Name of the function that a serverless platform calls."""


def entry_points(sources: Sources, commands: Mapping[str, str]) -> tuple[EntryPoint, ...]:
    """Return the entry points of the most reliable kind that is found.

    Entry points that reach a supported library come first. If there are any, the others are omitted.
    """
    finders: tuple[Callable[[], Iterator[EntryPoint]], ...] = (
        lambda: _handlers(sources),
        lambda: _commands(sources, commands),
        lambda: _by_tree(sources, "main", _is_main, "runs as a program"),
        lambda: _by_tree(sources, "application", _makes(_APPLICATIONS), "makes the web application"),
        lambda: _django(sources),
        lambda: _by_tree(sources, "celery", _makes(frozenset({"Celery"})), "makes the Celery application"),
    )
    everything = [_unique(finder()) for finder in finders]
    for found in everything:
        if relevant := [each for each in found if libraries_in(reached(each.source, sources))]:
            return tuple(relevant)
    return next((tuple(found) for found in everything if found), ())


def _unique(found: Iterator[EntryPoint]) -> list[EntryPoint]:
    return list({each.source.path: each for each in found}.values())


def _handlers(sources: Sources) -> Iterator[EntryPoint]:
    for source in sources.files:
        for node in source.tree.body:
            if isinstance(node, ast.FunctionDef) and [each.arg for each in node.args.args] == ["event", "context"]:
                yield EntryPoint(source, "handler", f"{node.name}(event, context)", node.name)


def _commands(sources: Sources, commands: Mapping[str, str]) -> Iterator[EntryPoint]:
    by_module = {source.module: source for source in sources.files}
    for name, target in commands.items():
        if (source := by_module.get(target.partition(":")[0])) is not None:
            yield EntryPoint(source, "command", f"the command {name}")


def _by_tree(sources: Sources, kind: Kind, check: Callable[[Source], bool], reason: str) -> Iterator[EntryPoint]:
    return (EntryPoint(source, kind, reason) for source in sources.files if check(source))


def _django(sources: Sources) -> Iterator[EntryPoint]:
    if any(source.path.name == "manage.py" for source in sources.files):
        for source in sources.files:
            if source.path.name in ("wsgi.py", "asgi.py"):
                yield EntryPoint(source, "django", "Django's application")


def _is_main(source: Source) -> bool:
    if source.path.name == "__main__.py":
        return True
    return source.path.name != "manage.py" and any(
        isinstance(node, ast.If) and ast.unparse(node.test) in ("__name__ == '__main__'", "'__main__' == __name__")
        for node in source.tree.body
    )


def _makes(names: frozenset[str]) -> Callable[[Source], bool]:
    def makes(source: Source) -> bool:
        return any(isinstance(node, ast.Call) and _last_name(node.func) in names for node in ast.walk(source.tree))

    return makes


def _last_name(node: Any) -> str | None:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None
