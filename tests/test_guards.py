"""`except Exception` occurs only in guards that count or log, and that pass the app's exceptions on."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandaprobe_otel
import pandaprobe_otel_integrations

# The imported packages: the tests also run with the installed wheel, without the sources.
SOURCES = tuple(Path(package.__path__[0]) for package in (pandaprobe_otel, pandaprobe_otel_integrations))
BROAD = {"Exception", "BaseException"}
PASS_ON = {"failed", "counted", "pass_on"}
"""Calls that raise an exception of the app again, such as a time limit that its signal handler raised."""
REPORTS = PASS_ON | {"guarded", "say", "_report", "dropped", "debug", "info", "warning", "error", "exception"}
"""Calls that count or log."""
IN_OUR_THREADS = {
    ("delivery/spool/store.py", "SpoolStore._guarded"),
    ("local/evaluation/service.py", "Evaluation._evaluate"),
    ("local/store/failures.py", "find_anew"),
}
"""Guards that never run in a thread of the app, by module and function."""

RESULTS = {
    "config/resolve.py": {"_resolve_one"},
    "cli/app.py": {"run"},
    "capture/wrapping.py": {"_around_async_generator.wrapper", "_around_generator.wrapper"},
    "evals/simulation.py": {"text_of_error"},
    "evals/task_runs.py": {"_run_once", "scored"},
    "replay/trials.py": {"_tried"},
}
"""Functions that neither count nor log, since the exception becomes the caller's result or is raised elsewhere."""


@dataclass(frozen=True, slots=True)
class Handler:
    """A broad `except` that does not end with a raise."""

    module: str
    function: str
    reports: bool
    passes_on: bool


@cache
def sources() -> list[tuple[str, ast.AST]]:
    """Return the path and the tree of each module of the core and of the integrations that names a broad class."""
    paths = [(path.relative_to(root).as_posix(), path) for root in SOURCES for path in sorted(root.rglob("*.py"))]
    texts = ((name, path.read_text(encoding="utf-8")) for name, path in paths)
    return [(name, ast.parse(text)) for name, text in texts if re.search(r"\b(Base)?Exception\b|\bexcept:", text)]


@cache
def broad_handlers() -> list[Handler]:
    """Return the broad handlers of the core and of the integrations."""
    return [handler for name, tree in sources() for handler in _in(tree, name, "")]


def _in(node: ast.AST, module: str, function: str) -> Iterator[Handler]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _in(child, module, f"{function}.{child.name}".lstrip("."))
            continue
        if isinstance(child, ast.ExceptHandler) and _is_broad(child) and not isinstance(child.body[-1], ast.Raise):
            yield Handler(module, function, _calls(child, REPORTS), _calls(child, PASS_ON))
        yield from _in(child, module, function)


def _is_broad(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or any(_name(node) in BROAD for node in ast.walk(handler.type))


def _calls(handler: ast.ExceptHandler, names: set[str]) -> bool:
    return any(isinstance(node, ast.Call) and _name(node.func) in names for node in ast.walk(handler))


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def test_every_guard_counts_or_logs() -> None:
    """No broad handler stops an exception without a count or a log line, unless it is in `RESULTS`."""
    silent = {
        (handler.module, handler.function)
        for handler in broad_handlers()
        if not handler.reports and handler.function not in RESULTS.get(handler.module, set())
    }
    assert silent == set()


def test_guards_in_threads_of_the_app_pass_its_exceptions_on() -> None:
    """A guard calls a function that raises the app's exceptions again, unless it only runs in threads of ours."""
    stopping = {
        (handler.module, handler.function)
        for handler in broad_handlers()
        if not handler.passes_on and handler.function not in RESULTS.get(handler.module, set())
    }
    assert stopping == IN_OUR_THREADS


def test_nothing_broad_is_suppressed() -> None:
    """`suppress(Exception)` occurs nowhere, since it would be an unlisted guard."""
    suppressed = [
        f"{name}:{node.lineno}"
        for name, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _name(node.func) == "suppress" and {_name(each) for each in node.args} & BROAD
    ]
    assert suppressed == []
