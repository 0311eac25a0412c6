"""Exact types of the clients in another project, for both type checkers in strict mode."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from both_clients import operations_of
from pandaprobe_otel.api import Client

CASES = Path(__file__).with_name("client_types.py")
EXACT = ("blocking", "without_answer", "started")
"""The functions whose cases differ between the clients only in class names and `await`."""
TWINS = {"Client": "AsyncClient", "Run": "AsyncRun", "Iterator": "AsyncIterator"}
COMMANDS = {
    "mypy": ["mypy", "--strict", "--warn-unused-ignores", "--cache-dir", "cache", "."],
    "pyright": ["pyright", "--pythonpath", sys.executable],
}


class Awaited(ast.NodeTransformer):
    """A transformer of calls of the synchronous client into awaited calls of the asynchronous one."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Return a coroutine function."""
        made = ast.AsyncFunctionDef(**{field: getattr(node, field) for field in node._fields})
        return self.generic_visit(ast.copy_location(made, node))

    def visit_Name(self, node: ast.Name) -> ast.Name:
        """Return the asynchronous class of a name."""
        return ast.copy_location(ast.Name(TWINS.get(node.id, node.id), node.ctx), node)

    def visit_alias(self, node: ast.alias) -> ast.alias:
        """Return the import of the asynchronous class."""
        return ast.alias(TWINS.get(node.name, node.name))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Return an awaited call, unless it returns an iterator."""
        call = self.generic_visit(node)
        called = _path(node.func)
        if called and not called[-1].startswith("iter"):
            return ast.Await(node)
        return call


def _path(node: ast.expr) -> list[str]:
    """Return the names of a method's path below `client` or `run`, or an empty list for another function."""
    if isinstance(node, ast.Attribute):
        base = _path(node.value)
        return [*base, node.attr] if base or _is_root(node.value) else []
    return []


def _is_root(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("client", "run")


def awaited_cases() -> str:
    """Return the cases for the asynchronous client."""
    module = ast.parse(CASES.read_text(encoding="utf-8"))
    module.body = [node for node in module.body if not isinstance(node, ast.FunctionDef) or node.name in EXACT]
    return ast.unparse(ast.fix_missing_locations(Awaited().visit(module)))


@pytest.fixture(scope="module")
def checkers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Yield both type checkers, running on another project."""
    project = tmp_path_factory.mktemp("consumer")
    (project / "blocking.py").write_text(CASES.read_text(encoding="utf-8"), encoding="utf-8")
    (project / "awaited.py").write_text(awaited_cases(), encoding="utf-8")
    (project / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}', encoding="utf-8")
    running = {
        name: subprocess.Popen(
            [sys.executable, "-m", *command], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for name, command in COMMANDS.items()
    }
    yield running
    for process in running.values():
        process.kill()
        process.communicate()


@pytest.mark.parametrize("checker", list(COMMANDS))
def test_every_method_has_its_exact_type(checkers: dict[str, subprocess.Popen[str]], checker: str) -> None:
    """Every `assert_type` of the cases holds, and the checker refuses every wrong call."""
    said, _ = checkers[checker].communicate(timeout=100)

    assert checkers[checker].returncode == 0, said


def test_no_method_is_left_out() -> None:
    """The cases have every operation of the client and every method of a run."""
    module = ast.parse(CASES.read_text(encoding="utf-8"))
    exact = [node for node in module.body if isinstance(node, ast.FunctionDef) and node.name in EXACT]
    calls = [node for function in exact for node in ast.walk(function) if isinstance(node, ast.Call)]
    used = {".".join(path) for call in calls if (path := _path(call.func))}
    of_runs = {"wait", "refresh", "result", "retry_failed", "delete"}

    assert used == set(operations_of(Client(endpoint="http://127.0.0.1:1"))) | of_runs


def test_the_cases_for_the_asynchronous_client_await() -> None:
    """The cases of the asynchronous client await calls, except those that return an iterator."""
    made = awaited_cases()

    assert "assert_type(await client.traces.get('id'), Trace)" in made
    assert "assert_type(client.users.iter(), AsyncIterator[UserSummary])" in made
    assert "async def started(run: AsyncRun)" in made
    assert "from pandaprobe_otel import AsyncClient" in made
