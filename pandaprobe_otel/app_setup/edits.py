"""Edits of files, and texts of Python source that leave every other byte unchanged."""

from __future__ import annotations

import ast
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pandaprobe_otel.app_setup.sources import Source


@dataclass(frozen=True, slots=True)
class Edit:
    """New content of one file, as bytes in the file's own encoding."""

    path: Path
    before: bytes
    after: bytes

    @classmethod
    def of_text(cls, path: Path, before: str, after: str, encoding: str = "utf-8") -> Edit:
        """Return the edit of a text."""
        return cls(path, before.encode(encoding), after.encode(encoding))

    def diff(self) -> str:
        """Return the unified diff."""
        before, after = (
            text.decode("utf-8", "replace").splitlines(keepends=True) for text in (self.before, self.after)
        )
        return "".join(difflib.unified_diff(before, after, f"a/{self.path.as_posix()}", f"b/{self.path.as_posix()}"))


def with_init(source: Source) -> str | None:
    """Return the text with `import pandaprobe_otel` and `init()` before the first statement that may import a client.

    They come after the docstring and `from __future__` imports, which must not move. Return None if the result would
    differ by more than two additional statements.
    """
    return _inserted(source, _line_of_first_statement(source.tree), "import pandaprobe_otel", "pandaprobe_otel.init()")


def with_handler(source: Source, name: str) -> str | None:
    """Return the text with `init()`, and with `flush_on_return` as the outermost decorator of the handler."""
    text = with_init(source)
    if text is None:
        return None
    handler = next(each for each in ast.parse(text).body if isinstance(each, ast.FunctionDef) and each.name == name)
    return _spliced(text, _line_of(handler) - 1, ["@pandaprobe_otel.flush_on_return"])


def with_provider(source: Source, statement: str) -> str | None:
    """Return the text with a statement about the provider, such as `init(...)`, after its only assignment.

    `statement` contains `{provider}` for the variable. None unless exactly one plain variable is assigned a provider.
    """
    made = [node for node in ast.walk(source.tree) if isinstance(node, ast.Assign) and is_provider(node.value)]
    if len(made) != 1 or len(made[0].targets) != 1 or not isinstance(target := made[0].targets[0], ast.Name):
        return None
    lines = source.text.splitlines(keepends=True)
    after = made[0].end_lineno or made[0].lineno
    rest = lines[after - 1].encode()[made[0].end_col_offset or 0 :].strip()
    if rest and not rest.startswith(b"#"):
        return None  # `a = 1; b = 2`
    line = lines[made[0].lineno - 1]
    indent = line[: len(line) - len(line.lstrip())]
    text = _spliced(source.text, after, [indent + statement.format(provider=target.id)])
    return _spliced(text, _line_of_first_statement(source.tree), ["import pandaprobe_otel"])


def is_provider(node: Any) -> bool:
    """Return whether an expression creates a `TracerProvider`."""
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
    return name == "TracerProvider"


def _line_of_first_statement(tree: ast.Module) -> int:
    """Return the number of lines before which nothing may be inserted."""
    last = 0
    for number, node in enumerate(tree.body):
        is_docstring = number == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        if not is_docstring and not is_future:
            break
        last = node.end_lineno or node.lineno
    if last:
        return last
    return _line_of(tree.body[0]) - 1 if tree.body else 0


def _line_of(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(each.lineno for each in decorators)])


def _inserted(source: Source, line: int, *statements: str) -> str | None:
    text = source.text
    before = text.splitlines(keepends=True)[:line]
    block = [*([""] if before and before[-1].strip() and source.tree.body else []), *statements, ""]
    following = text.splitlines()[line : line + 1]
    if following and not following[0].strip():
        block.pop()  # One blank line is enough.
    changed = _spliced(text, line, block)
    return changed if _only_adds(source.tree, changed, len(statements)) else None


def _spliced(text: str, line: int, inserted: list[str]) -> str:
    lines = text.splitlines(keepends=True)
    end = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    if line and line == len(lines) and not lines[-1].endswith(("\n", "\r")):
        lines[-1] += end
    return "".join([*lines[:line], *(each + end for each in inserted), *lines[line:]])


def _only_adds(tree: ast.Module, changed: str, count: int) -> bool:
    """Return whether the changed text has the same statements, plus `count` in one place."""
    try:
        after = [ast.dump(node) for node in ast.parse(changed).body]
    except SyntaxError:
        return False
    before = [ast.dump(node) for node in tree.body]
    return any(after[:place] + after[place + count :] == before for place in range(len(before) + 1))
