"""Break sampled places of the source, one at a time, and record which test notices.

    python scripts/mutants.py map                       # which test enters which function; runs the inner ring once
    python scripts/mutants.py run delivery              # the sampled mutants of one room, written to the baseline
    python scripts/mutants.py check delivery            # the killed mutants again: which survive now

Each mutant is tried in a fork of a process that has imported the libraries of the tests, and nothing of ours.

A mutant is named by its module, function, operator and text, not by its line, so that it keeps its name while other
code moves. A sample is drawn by the hash of that name and is thus the same on every machine. `check` runs the recorded
mutants whose text still exists, first with the test that is recorded for it, and fails if fewer than 99 % of the killed
ones are still killed.

Needs Python 3.12 (sys.monitoring). A mutant is written into its file, since tests start processes of their own, and
taken back afterwards: use a checkout in which nobody works.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import itertools
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[1]
BASELINE: Final = ROOT / "tests" / "mutants.json"
CACHE: Final = ROOT / ".cache" / "mutants"

ROOMS: Final = {
    "assembly": ("pandaprobe_otel/assembly", "pandaprobe_otel/pipeline", "pandaprobe_otel/sdk"),
    "capture": ("pandaprobe_otel/capture",),
    "delivery": ("pandaprobe_otel/delivery",),
    "evals": ("pandaprobe_otel/evals",),
    "mapping": ("pandaprobe_otel/mapping",),
    "openai_protocol": ("integrations/pandaprobe_otel_integrations/_openai_protocol",),
    "replay": ("pandaprobe_otel/replay",),
    "streams": ("integrations/pandaprobe_otel_integrations/_streams",),
    "transport": ("pandaprobe_otel/transport",),
}
PER_ROOM: Final = 80
SECONDS_PER_MUTANT: Final = 10.0
"""Sum of the recorded durations of the tests that one mutant is tried with; the quickest come first."""
CPU_SECONDS: Final = 60
"""After so much CPU time, a mutant is a loop without an end, and thus killed; a busy machine does not decide."""


@dataclass(frozen=True)
class Mutant:
    """One change of one place of the source.

    Attributes:
        path: The file, relative to the repository.
        function: Qualified name of the innermost function, or "" for the module.
        operator: What is done to the place.
        text: The original text.
        nth: Which of the places with the same path, function, operator and text.
        start: Offset of the place in the file's bytes.
        end: Offset after it.
        new: The text that replaces it.
    """

    path: str
    function: str
    operator: str
    text: str
    nth: int
    start: int
    end: int
    new: str

    @property
    def name(self) -> str:
        """The name under which the baseline keeps the mutant."""
        return f"{self.path}::{self.function}::{self.operator}::{self.text}::{self.nth}"


SWAPS: Final[dict[type[ast.AST], str]] = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
    ast.Add: "-", ast.Sub: "+",
}  # fmt: skip


class _Places(ast.NodeVisitor):
    """Collects the changes that can be made to one module."""

    def __init__(self, source: bytes) -> None:
        self.found: list[tuple[str, str, int, int, str]] = []
        self._source = source
        self._lines = [0, *itertools.accumulate(map(len, source.splitlines(keepends=True)))]
        self._scope: list[str] = []

    def _add(self, operator: str, place: tuple[int, int], new: str) -> None:
        self.found.append((".".join(self._scope), operator, *place, new))

    def _place(self, at: Any) -> tuple[int, int]:
        return self._lines[at.lineno - 1] + at.col_offset, self._lines[at.end_lineno - 1] + at.end_col_offset

    def _between(self, left: ast.AST, right: ast.AST) -> tuple[int, int]:
        return self._place(left)[1], self._place(right)[0]

    def _text(self, place: tuple[int, int]) -> str:
        return self._source[slice(*place)].decode()

    def visit(self, node: ast.AST) -> None:
        """Add the changes of a node and of those inside it."""
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                self._scope.append(node.name)
                for child in node.body:
                    self.visit(child)
                self._scope.pop()
            case ast.JoinedStr() | ast.Expr(value=ast.Constant()):
                pass  # the words of messages and docstrings are no behaviour
            case ast.Assign(targets=[ast.Name(id="__all__" | "__slots__"), *_]):
                pass
            case ast.If(test=test) if "TYPE_CHECKING" in ast.dump(test):
                pass
            case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
                self.visit(value)  # an annotation is not run
            case ast.AnnAssign():
                pass
            case ast.Raise():
                if "NotImplementedError" not in ast.dump(node):
                    self._add("drop-raise", self._place(node), "pass")
            case _:
                self._change(node)
                self.generic_visit(node)

    def _change(self, node: ast.AST) -> None:
        match node:
            case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
                if not isinstance(test, ast.Constant):
                    place = self._place(test)
                    self._add("negate", place, f"(not ({self._text(place)}))")
            case ast.Compare(left=left, ops=[sign], comparators=[right]):
                self._swap("compare", sign, self._between(left, right))
            case ast.BinOp(left=left, op=sign, right=right):
                self._swap("arithmetic", sign, self._between(left, right))
            case ast.BoolOp(op=sign, values=[left, right, *_]):
                place = self._between(left, right)
                old, new = ("and", "or") if isinstance(sign, ast.And) else ("or", "and")
                swapped, count = re.subn(rf"\b{old}\b", new, self._text(place))
                if count == 1:
                    self._add("and-or", place, swapped)
            case ast.Return(value=ast.expr() as value):
                if not (isinstance(value, ast.Constant) and value.value is None):
                    self._add("return-none", self._place(value), "None")
            case ast.Expr(value=ast.Call()):
                self._add("drop-call", self._place(node), "pass")
            case ast.Continue():
                self._add("continue-break", self._place(node), "break")
            case ast.Constant(value=bool() as value):
                self._add("boolean", self._place(node), str(not value))
            case ast.Constant(value=int() | float()):
                place = self._place(node)
                self._add("number", place, f"({self._text(place)} + 1)")
            case ast.Constant(value=str() as value):
                place = self._place(node)
                if value and self._text(place)[0] in "\"'":
                    self._add("text", place, repr("mutated " + value))

    def _swap(self, operator: str, sign: ast.AST, place: tuple[int, int]) -> None:
        if type(sign) in SWAPS and not {"(", ")"} & set(self._text(place)):
            self._add(operator, place, f" {SWAPS[type(sign)]} ")


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Yield every mutant of a module that still compiles."""
    source = path.read_bytes()
    places = _Places(source)
    places.visit(ast.parse(source))
    seen = Counter[tuple[str, str, str]]()
    for function, operator, start, end, new in places.found:
        text = " ".join(source[start:end].decode().split())
        nth = seen[function, operator, text]
        seen[function, operator, text] += 1
        mutant = Mutant(path.relative_to(ROOT).as_posix(), function, operator, text, nth, start, end, new)
        with contextlib.suppress(SyntaxError):
            compile(source[:start] + new.encode() + source[end:], path, "exec")
            yield mutant


def mutants_in(room: str) -> list[Mutant]:
    """Return every mutant of a room."""
    files = (file for folder in ROOMS[room] for file in sorted((ROOT / folder).rglob("*.py")))
    return [mutant for file in files for mutant in mutants_of(file)]


def sample(room: str) -> list[Mutant]:
    """Draw the mutants of a room by the hash of their names; at most a quarter changes a text."""
    drawn = sorted(mutants_in(room), key=lambda mutant: hashlib.sha256(mutant.name.encode()).digest())
    texts = [mutant for mutant in drawn if mutant.operator == "text"][: PER_ROOM // 4]
    return [mutant for mutant in drawn if mutant.operator != "text"][: PER_ROOM - len(texts)] + texts


# --- which test enters which function ------------------------------------------------------------------------------


MONITORING: Final[Any] = getattr(sys, "monitoring", None)  # Python 3.12 or newer


class FunctionMap:
    """A pytest plugin that records the functions of the package that each test enters, threads included."""

    def __init__(self) -> None:
        self._entered: set[str] = set()
        MONITORING.use_tool_id(4, "mutants")
        MONITORING.register_callback(4, MONITORING.events.PY_START, self._start)
        MONITORING.set_events(4, MONITORING.events.PY_START)

    def _start(self, code: CodeType, _: int) -> object:
        file = code.co_filename.removeprefix(f"{ROOT}/")
        if file.startswith(("pandaprobe_otel/", "integrations/")):
            self._entered.add(f"{file}::{code.co_qualname.replace('.<locals>', '')}")
        return MONITORING.DISABLE

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Record one test with its fixtures in the file of this process."""
        if not isinstance(item, pytest.Function):  # a file that the tests of conftest.py stand for
            return (yield)
        self._entered = set()
        MONITORING.restart_events()
        began = time.perf_counter()
        result = yield
        with (CACHE / f"map-{os.getpid()}.jsonl").open("a") as file:
            file.write(json.dumps((item.nodeid, time.perf_counter() - began, sorted(self._entered))) + "\n")
        return result


def pytest_configure(config: pytest.Config) -> None:
    """Register the recorder; this module is loaded with `-p mutants`."""
    config.pluginmanager.register(FunctionMap())


def write_map(arguments: Iterable[str]) -> int:
    """Run the inner ring once and record its functions."""
    shutil.rmtree(CACHE, ignore_errors=True)
    CACHE.mkdir(parents=True)
    command = (sys.executable, "-m", "pytest", "-pmutants", "-q", "-pno:cacheprovider", *arguments)
    return subprocess.call(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": f"{ROOT}/scripts"})


class TestsByFunction:
    """The tests that enter each function, and how long each test takes, from what `map` has written."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, dict[str, float]] = defaultdict(dict)
        for file in CACHE.glob("map-*.jsonl"):
            for test, seconds, functions in map(json.loads, file.read_text().splitlines()):
                for function in functions:
                    self._seconds[function][test] = seconds
        self.names = set[str]().union(*self._seconds.values())
        if not self._seconds:
            sys.exit("no map of the tests: run `python scripts/mutants.py map` first")

    def tests_for(self, mutant: Mutant) -> list[str]:
        """Choose tests for a mutant: the nearest folder first, the quickest first, within the seconds of a mutant."""
        found = dict(self._seconds.get(f"{mutant.path}::{mutant.function}", {}))
        if not found:  # a table of a module, a class body, or a function that only child processes enter
            for name, tests in self._seconds.items():
                found |= tests if name.startswith(f"{mutant.path}::") else {}
        folder = "tests/" + "/".join(mutant.path.split("/")[1:-1])
        ordered = sorted(found, key=lambda test: (not test.startswith(folder), found[test]))
        until = itertools.accumulate(map(found.__getitem__, ordered), initial=0)
        return ordered[: sum(spent <= SECONDS_PER_MUTANT for spent in until)]


# --- running --------------------------------------------------------------------------------------------------------


OPTIONS: Final = (
    "-qx", "-n0", "-pno:cacheprovider", "--tb=no", "-rfE",
    "--timeout=120", "-Wignore::pytest.PytestAssertRewriteWarning",
)  # fmt: skip


def _forked(*arguments: str) -> tuple[int | None, str]:
    """Run pytest in a fork of this process; return the exit code, None after a timeout, and what is printed.

    The last line printed names the modules that were imported.
    """
    with tempfile.TemporaryFile("w+") as out:  # a pipe could be held by a process that a test has left behind

        def run() -> None:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS,) * 2)
            for number in (1, 2):
                os.dup2(out.fileno(), number)
            code = pytest.main([*OPTIONS, *arguments])
            print(*sys.modules, flush=True)
            os._exit(code)

        process = multiprocessing.get_context("fork").Process(target=run)
        process.start()
        process.join(10 * CPU_SECONDS)
        code = process.exitcode
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)
        out.seek(0)
        return code, out.read()


def _files(tests: Iterable[str]) -> set[str]:
    return {test.partition("::")[0] for test in tests}


def warm_up(tests: Iterable[str]) -> None:
    """Import the libraries of these tests, but nothing of ours: each mutant is tried in a fork of this process."""
    sys.dont_write_bytecode, os.environ["PYTHONDONTWRITEBYTECODE"] = True, "1"
    for name in _forked("--collect-only", "-pno:terminal", *_files(tests))[1].split():
        with contextlib.suppress(ImportError):  # of the tests
            if not name.startswith(("pandaprobe", "tests")):
                importlib.import_module(name)


def killer_of(mutant: Mutant, tests: list[str]) -> str | None:
    """Return the name of a test that fails with the mutant, or None if all of them pass."""
    path = ROOT / mutant.path
    original, stat = path.read_bytes(), path.stat()
    path.write_bytes(original[: mutant.start] + mutant.new.encode() + original[mutant.end :])
    try:
        code, printed = _forked(*tests)
        if code == pytest.ExitCode.USAGE_ERROR:  # the mutant is in the names of the parametrised tests
            code, printed = _forked(*_files(tests))
    finally:
        path.write_bytes(original)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", printed, re.MULTILINE)
    return failed[1] if failed else f"exit code {code}" if code != 0 else None


def run(mutants: list[Mutant], before: Mapping[str, str | None]) -> dict[str, str | None]:
    """Try each mutant, first with its killer of `before`; return the test that kills it by the name of the mutant."""
    tests = TestsByFunction()
    chosen = [[*(tests.names & {before.get(mutant.name)}), *tests.tests_for(mutant)] for mutant in mutants]
    warm_up(itertools.chain(*chosen))
    killed: dict[str, str | None] = {}
    for number, (mutant, its) in enumerate(zip(mutants, chosen, strict=True), 1):
        killer = killed[mutant.name] = killer_of(mutant, its) if its else None
        print(number, killer or f"SURVIVED {len(its)} tests", mutant.name, flush=True)
    return killed


def record(room: str) -> int:
    """Run the sample of a room and write it into the baseline."""
    killed = run(sample(room), recorded().get(room, {}))
    BASELINE.write_text(json.dumps(dict(sorted((recorded() | {room: killed}).items())), indent=1) + "\n")
    print(f"{room}: {sum(map(bool, killed.values()))} of {len(killed)} mutants killed")
    return 0


def recorded() -> dict[str, dict[str, str | None]]:
    """Return the baseline."""
    rooms: dict[str, dict[str, str | None]] = json.loads(BASELINE.read_text())
    return rooms


def check(room: str) -> int:
    """Run the recorded mutants of a room again; return 1 if more than one in a hundred is no longer killed."""
    before = {name: killer for name, killer in recorded()[room].items() if killer is not None}
    now = run([mutant for mutant in mutants_in(room) if mutant.name in before], before)
    lost = [name for name, killer in now.items() if killer is None]
    print(f"{room}: {len(now) - len(lost)} of {len(now)} still killed; lost:")
    print(*lost, sep="\n")
    return len(lost) > len(now) / 100


def main(verb: str, *names: str) -> int:
    """Run one verb."""
    if verb == "map":
        return write_map(names)
    return max({"run": record, "check": check}[verb](room) for room in names)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
