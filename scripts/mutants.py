"""Break sampled places of the source, one at a time, and record which test notices.

    python scripts/mutants.py map                       # which test enters which function; runs the inner ring once
    python scripts/mutants.py run delivery              # the sampled mutants of one room, written to the baseline
    python scripts/mutants.py check delivery            # the killed mutants again: which survive now

A mutant is named by its module, function, operator and text, not by its line, so that it keeps its name while other
code moves. A sample is drawn by the hash of that name and is thus the same on every machine. `check` runs the recorded
mutants whose text still exists, and fails if fewer than 99 % of the killed ones are still killed.

Needs Python 3.12 (sys.monitoring). A mutant is written into its file, since tests start processes of their own, and
taken back afterwards: use a checkout in which nobody works.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
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
SECONDS_PER_MUTANT: Final = 25.0
"""Sum of the recorded durations of the tests that one mutant is tried with; the quickest come first."""
LOST_AT_MOST: Final = 0.01
PASSED: Final = "passed"


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


COMPARISONS: Final = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip


class _Places(ast.NodeVisitor):
    """Collects the changes that can be made to one module."""

    def __init__(self, source: bytes) -> None:
        self.found: list[tuple[str, str, int, int, str]] = []
        self._source = source
        self._lines = [0]
        for line in source.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))
        self._scope: list[str] = []

    def _span(self, node: ast.AST) -> tuple[int, int]:
        at: Any = node
        return self._lines[at.lineno - 1] + at.col_offset, self._lines[at.end_lineno - 1] + at.end_col_offset

    def _text(self, start: int, end: int) -> str:
        return self._source[start:end].decode()

    def _add(self, operator: str, start: int, end: int, new: str) -> None:
        self.found.append((".".join(self._scope), operator, start, end, new))

    def _enter(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        self._scope.append(node.name)
        for child in node.body:
            self.visit(child)
        self._scope.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _enter

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" in ast.dump(node.test):
            return
        self._condition(node.test)
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self._condition(node.test)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._condition(node.test)
        self.generic_visit(node)

    def _condition(self, test: ast.expr) -> None:
        if not isinstance(test, ast.Constant):
            start, end = self._span(test)
            self._add("negate", start, end, f"(not ({self._text(start, end)}))")

    def visit_Compare(self, node: ast.Compare) -> None:
        if len(node.ops) == 1:
            start, end = self._span(node.left)[1], self._span(node.comparators[0])[0]
            between = self._text(start, end)
            if between.strip(" ()\n") and between.count("(") == between.count(")") == 0:
                self._add("compare", start, end, f" {COMPARISONS[type(node.ops[0])]} ")
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        start, end = self._span(node.values[0])[1], self._span(node.values[1])[0]
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        swapped, count = re.subn(rf"\b{old}\b", new, self._text(start, end))
        if count == 1:
            self._add("and-or", start, end, swapped)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        signs: dict[type[ast.operator], str] = {ast.Add: "-", ast.Sub: "+", ast.Mult: "//", ast.FloorDiv: "*"}
        start, end = self._span(node.left)[1], self._span(node.right)[0]
        if type(node.op) in signs and "(" not in self._text(start, end) and ")" not in self._text(start, end):
            self._add("arithmetic", start, end, f" {signs[type(node.op)]} ")
        self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
            start, end = self._span(node.value)
            self._add("return-none", start, end, "None")
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return  # a docstring
        if isinstance(node.value, ast.Call):
            self._add("drop-call", *self._span(node), "pass")
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        if "NotImplementedError" not in ast.dump(node):
            self._add("drop-raise", *self._span(node), "pass")

    def visit_Continue(self, node: ast.Continue) -> None:
        self._add("continue-break", *self._span(node), "break")

    def visit_Constant(self, node: ast.Constant) -> None:
        start, end = self._span(node)
        if isinstance(node.value, bool):
            self._add("boolean", start, end, str(not node.value))
        elif isinstance(node.value, int | float):
            self._add("number", start, end, f"({self._text(start, end)} + 1)")
        elif isinstance(node.value, str) and node.value and self._text(start, start + 1) in "\"'":
            self._add("text", start, end, repr("mutated " + node.value))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)  # an annotation is not run

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Leave messages as they are: their words are no behaviour."""

    def visit_Assign(self, node: ast.Assign) -> None:
        if not (isinstance(node.targets[0], ast.Name) and node.targets[0].id in {"__all__", "__slots__"}):
            self.visit(node.value)


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Yield every mutant of a module that still compiles."""
    source = path.read_bytes()
    places = _Places(source)
    places.visit(ast.parse(source))
    seen: dict[tuple[str, str, str], int] = defaultdict(int)
    for function, operator, start, end, new in places.found:
        text = " ".join(source[start:end].decode().split())
        nth = seen[function, operator, text]
        seen[function, operator, text] += 1
        mutant = Mutant(path.relative_to(ROOT).as_posix(), function, operator, text, nth, start, end, new)
        try:
            compile(source[:start] + new.encode() + source[end:], path, "exec")
        except SyntaxError:
            continue
        yield mutant


def sample(room: str, count: int = PER_ROOM) -> list[Mutant]:
    """Draw the mutants of a room by the hash of their names; at most a quarter changes a text."""
    files = [file for folder in ROOMS[room] for file in sorted((ROOT / folder).rglob("*.py"))]
    drawn = sorted(
        (mutant for file in files for mutant in mutants_of(file)),
        key=lambda mutant: hashlib.sha256(mutant.name.encode()).digest(),
    )
    texts = [mutant for mutant in drawn if mutant.operator == "text"][: count // 4]
    return [mutant for mutant in drawn if mutant.operator != "text"][: count - len(texts)] + texts


# --- which test enters which function ------------------------------------------------------------------------------


MONITORING: Final[Any] = getattr(sys, "monitoring", None)
"""Python 3.12 or newer."""


class FunctionMap:
    """A pytest plugin that records the functions of the package that each test enters, threads included."""

    TOOL: Final = 4

    def __init__(self) -> None:
        self._entered: set[str] = set()
        self._tests: dict[str, tuple[float, list[str]]] = {}
        MONITORING.use_tool_id(self.TOOL, "mutants")
        events = MONITORING.events
        MONITORING.register_callback(self.TOOL, events.PY_START, self._start)
        MONITORING.set_events(self.TOOL, events.PY_START)

    def _start(self, code: CodeType, _: int) -> object:
        for package in ("/pandaprobe_otel/", "/pandaprobe_otel_integrations/"):
            if package in code.co_filename and code.co_filename.startswith(str(ROOT)):
                name = code.co_qualname.replace(".<locals>", "")
                self._entered.add(f"{code.co_filename[len(str(ROOT)) + 1 :]}::{name}")
        return MONITORING.DISABLE

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Record one test with its fixtures."""
        self._entered = set()
        MONITORING.restart_events()
        began = time.perf_counter()
        result = yield
        self._tests[item.nodeid] = (time.perf_counter() - began, sorted(self._entered))
        return result

    def pytest_sessionfinish(self) -> None:
        """Stop, and write the records of this process."""
        MONITORING.free_tool_id(self.TOOL)
        if self._tests:
            CACHE.mkdir(parents=True, exist_ok=True)
            (CACHE / f"map-{os.getpid()}.json").write_text(json.dumps(self._tests))


def pytest_configure(config: pytest.Config) -> None:
    """Register the recorder; this module is loaded with `-p mutants`."""
    if os.environ.get("MUTANTS_MAP"):
        config.pluginmanager.register(FunctionMap())


def write_map(arguments: list[str]) -> int:
    """Run the inner ring once and record its functions."""
    for old in CACHE.glob("map-*.json"):
        old.unlink()
    command = [sys.executable, "-m", "pytest", "-p", "mutants", "-q", "-p", "no:cacheprovider", *arguments]
    environment = os.environ | {"MUTANTS_MAP": "1", "PYTHONPATH": str(ROOT / "scripts")}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


@dataclass(frozen=True)
class TestMap:
    """The tests that enter each function, and how long each test takes."""

    __test__ = False
    by_function: dict[str, list[str]]
    seconds: dict[str, float]

    @classmethod
    def read(cls) -> TestMap:
        """Read what `map` has written."""
        by_function: dict[str, list[str]] = defaultdict(list)
        seconds = {}
        for file in CACHE.glob("map-*.json"):
            for test, (duration, functions) in json.loads(file.read_text()).items():
                seconds[test] = duration
                for function in functions:
                    by_function[function].append(test)
        if not seconds:
            sys.exit("no map of the tests: run `python scripts/mutants.py map` first")
        return cls(dict(by_function), seconds)

    def tests_for(self, mutant: Mutant) -> list[str]:
        """Choose tests for a mutant: the nearest folder first, the quickest first, within the seconds of a mutant."""
        exact = self.by_function.get(f"{mutant.path}::{mutant.function}", [])
        if not exact:  # a table of a module, a class body, or a function that only child processes enter
            exact = [
                test
                for name, tests in self.by_function.items()
                if name.startswith(mutant.path + "::")
                for test in tests
            ]
        folder = "tests/" + "/".join(mutant.path.split("/")[1:-1])
        ordered = sorted(set(exact), key=lambda test: (not test.startswith(folder), self.seconds[test]))
        chosen: list[str] = []
        left = SECONDS_PER_MUTANT
        for test in ordered:
            left -= self.seconds[test] + 0.01
            if left < 0 and chosen:
                break
            chosen.append(test)
        return chosen[:400]


# --- running --------------------------------------------------------------------------------------------------------


class FirstFailure:
    """A pytest plugin that keeps the name of the first test that failed."""

    def __init__(self) -> None:
        self.name = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the first failure."""
        if report.failed and not self.name:
            self.name = report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Count a module that cannot be imported as a failure of its tests."""
        if report.failed and not self.name:
            self.name = report.nodeid


def _import_libraries() -> None:
    """Load what most tests import, once for all the children."""
    for name in (
        "hypothesis",
        "httpx",
        "pydantic",
        "opentelemetry.sdk.trace",
        "uvicorn",
        "fastapi",
        "openai",
        "orjson",
    ):
        __import__(name)
    # Started threads and locks would not survive the fork; none of these libraries has any at this point.
    assert threading.active_count() == 1


def killer_of(mutant: Mutant, tests: list[str]) -> str | None:
    """Return the name of a test that fails with the mutant, or None if all of them pass."""
    path = ROOT / mutant.path
    original = path.read_bytes()
    stat = path.stat()
    path.write_bytes(original[: mutant.start] + mutant.new.encode() + original[mutant.end :])
    try:
        return _first_failure(tests)
    finally:
        path.write_bytes(original)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _first_failure(tests: list[str]) -> str | None:
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        try:
            os.write(writable, _outcome(tests).encode())
        finally:
            os._exit(0)
    os.close(writable)
    try:
        return _answer(child, readable)
    finally:
        os.close(readable)


def _outcome(tests: list[str]) -> str:
    """Run tests in this process, silently; return the first that failed, or PASSED."""
    silent = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(silent, descriptor)
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    first = FirstFailure()
    # pytest warns of plugins that were imported before it, and the project's settings make that an error.
    options = [
        "-x",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        "--timeout",
        "20",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
    ]
    code = pytest.main([*options, *tests], plugins=[first])
    if code == pytest.ExitCode.USAGE_ERROR:  # the mutant is in the names of the parametrised tests
        code = pytest.main([*options, *sorted({test.split("::")[0] for test in tests})], plugins=[first])
    return first.name or (PASSED if code == pytest.ExitCode.OK else f"exit code {code!r}")


def _answer(child: int, readable: int) -> str | None:
    deadline = time.monotonic() + 8 * SECONDS_PER_MUTANT
    ended = False
    while not ended and time.monotonic() < deadline:
        pid, _ = os.waitpid(child, os.WNOHANG)
        ended = pid != 0
        time.sleep(0 if ended else 0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if not ended:
        os.waitpid(child, 0)
        return "timeout"
    # A process that a test left behind may hold the pipe: read what there is.
    os.set_blocking(readable, False)
    try:
        answer = os.read(readable, 4096).decode()
    except BlockingIOError:
        answer = ""
    return None if answer == PASSED else answer or "the process ended"


def run(mutants: list[Mutant]) -> dict[str, str | None]:
    """Try each mutant, and return the test that killed it by the mutant's name."""
    tests = TestMap.read()
    _import_libraries()
    os.chdir(ROOT)
    killed: dict[str, str | None] = {}
    for number, mutant in enumerate(mutants, start=1):
        chosen = tests.tests_for(mutant)
        began = time.monotonic()
        killer = killer_of(mutant, chosen) if chosen else None
        killed[mutant.name] = killer
        took = time.monotonic() - began
        print(
            f"{number}/{len(mutants)} {took:5.1f} s {killer or f'SURVIVED {len(chosen)} tests'}: {mutant.name}",
            flush=True,
        )
    return killed


def _recorded() -> dict[str, dict[str, str | None]]:
    return json.loads(BASELINE.read_text()) if BASELINE.exists() else {}


def _report(room: str, killed: dict[str, str | None]) -> None:
    number = sum(killer is not None for killer in killed.values())
    print(f"{room}: {number} of {len(killed)} mutants killed ({number / max(1, len(killed)):.0%})")


def record(room: str, count: int) -> int:
    """Run the sample of a room and write it into the baseline."""
    killed = run(sample(room, count))
    baseline = _recorded() | {room: killed}
    BASELINE.write_text(json.dumps(dict(sorted(baseline.items())), indent=1) + "\n")
    _report(room, killed)
    return 0


def check(room: str) -> int:
    """Run the recorded mutants of a room again; return 1 if more than one in a hundred is no longer killed."""
    before = _recorded()[room]
    there = {
        mutant.name: mutant
        for folder in ROOMS[room]
        for file in sorted((ROOT / folder).rglob("*.py"))
        for mutant in mutants_of(file)
    }
    dead = [name for name, killer in before.items() if killer is not None]
    now = run([there[name] for name in dead if name in there])
    lost = [name for name, killer in now.items() if killer is None]
    print(
        f"{room}: {len(now) - len(lost)} of {len(now)} still killed; {len(dead) - len(now)} are no longer in the source"
    )
    for name in lost:
        print(f"  lost: {name} (by {before[name]})")
    return int(len(lost) > LOST_AT_MOST * len(now))


def main() -> int:
    """Run one verb."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("verb", choices=["map", "run", "check"])
    parser.add_argument("names", nargs="*", help="rooms; for `map`, what pytest shall run")
    parser.add_argument("--count", type=int, default=PER_ROOM, help="mutants of each room")
    options = parser.parse_args()
    if options.verb == "map":
        return write_map(options.names)
    if not options.names or (unknown := set(options.names) - set(ROOMS)):
        parser.error(f"name rooms of {', '.join(ROOMS)}" + (f", not {', '.join(unknown)}" if options.names else ""))
    return max(record(room, options.count) if options.verb == "run" else check(room) for room in options.names)


if __name__ == "__main__":
    raise SystemExit(main())
