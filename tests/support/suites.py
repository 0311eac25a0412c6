"""Small test suites run as a user runs them: pytest in its own process."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from forks import Forks

AGENT: Final = """
import threading
import pytest
from pandaprobe_otel import agent, tool

@tool
def look_up(number): return {"item": "kettle", "number": number}

@tool
def refund(number): return True

@agent
def assistant(question):
    look_up("A-17")
    refund("A-17")
    return "refunded: " + question
"""

_OTHERS: Final = sorted({point.name for point in entry_points(group="pytest11") if "pandaprobe" not in point.value})
"""Installed plugins of others: loading them would take most of the time of a small suite."""
_NOT_REWRITTEN: Final = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
"""Warning filter, since the forks have loaded the plugins before pytest starts."""
_OLDER_ANYIO: Final = "ignore:_pytest.python.CallSpec2 has been renamed"
"""Warning filter, since the plugin of an older anyio uses a name that pytest has changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of a pytest run; `cases` has the outcome of each test and verdict, by name."""

    code: int
    out: str
    cases: Mapping[str, str]
    properties: Mapping[str, Mapping[str, str]]

    @property
    def verdicts(self) -> dict[str, str]:
        """The cases that are verdicts."""
        return {name: value for name, value in self.cases.items() if "::pandaprobe[" in name}

    @property
    def tests(self) -> dict[str, str]:
        """The cases that are tests."""
        return {name: value for name, value in self.cases.items() if "::pandaprobe[" not in name}


RunSuite = Callable[..., Outcome]
"""Runs a suite in a test's folder. Arguments: the code, options of pytest, `plugins=`, and environment variables."""

RunCommand = Callable[..., "subprocess.CompletedProcess[str]"]
"""Runs `pandaprobe-otel` in a test's folder. Arguments: those of the command, and environment variables."""


_ROOMS: Final = (
    "api",
    "assembly",
    "bootstrap",
    "capture",
    "delivery",
    "evals",
    "mapping",
    "pipeline",
    "sdk",
    "transport",
)
LOADED: Final = (
    *("_pytest.junitxml", "pdb", "httpcore", "httpx", "stringprep", "queue", "encodings.idna", "pytest"),
    *(f"pandaprobe_otel.{name}" for name in (*_ROOMS, "cli.app", "cli.evals")),
    *(f"pandaprobe_otel_integrations.{library}" for library in ("anthropic", "mistralai", "openai")),
)
"""The modules of suites and commands with verdicts, whose imports take two seconds of CPU."""
PYTEST: Final = "import sys, pytest; sys.exit(int(pytest.main(sys.argv[1:])))"
COMMAND: Final = "from pandaprobe_otel.cli import main; main()"


class Suites:
    """Runner of suites and commands, each in its own process."""

    def __init__(self) -> None:
        self._forks = Forks(*LOADED)
        self.close = self._forks.close

    def run(
        self,
        folder: Path,
        code: str,
        *arguments: str,
        plugins: tuple[str, ...] = (),
        **env: str,
    ) -> Outcome:
        """Run the tests in `code`, with `AGENT` before them, and return the outcome.

        Of the installed plugins, only ours and those in `plugins` are loaded, and warnings are errors. The folder's
        `conftest.py` and `pytest.ini` are used. Without `code`, no file of tests is written.
        """
        if code:
            (folder / "test_suite.py").write_text(AGENT + code, encoding="utf-8")
        xml, ini = folder / "junit.xml", folder / "pytest.ini"
        xml.unlink(missing_ok=True)
        done = self._start(
            folder,
            PYTEST,
            "pytest",
            *(f"-pno:{name}" for name in _OTHERS if name not in plugins),
            *("-c", str(ini) if ini.exists() else os.devnull),
            *(f"--rootdir={folder}", f"--junitxml={xml}", "-Werror", f"-W{_NOT_REWRITTEN}", f"-W{_OLDER_ANYIO}"),
            *arguments,
            **env,
        )
        cases, properties = _read(xml)
        return Outcome(code=done.returncode, out=done.stdout + done.stderr, cases=cases, properties=properties)

    def command(self, folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run `pandaprobe-otel` to its end and return its output."""
        return self._start(folder, COMMAND, "pandaprobe-otel", *arguments, **env)

    def _start(self, folder: Path, code: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        variables = {**_clean_environment(folder), **env}
        return self._forks.run(code, variables, *arguments, folder=folder)


def _clean_environment(folder: Path) -> dict[str, str]:
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("PANDAPROBE_", "OTEL_", "PYTEST"))
    }
    return clean | {
        "NO_PROXY": "127.0.0.1,localhost",
        "HOME": str(folder),
        "GITHUB_ACTIONS": "",
        "GITHUB_STEP_SUMMARY": "",
        "CI": "",
    }


def _read(xml: Path) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    cases: dict[str, str] = {}
    properties: dict[str, dict[str, str]] = {}
    if xml.exists():
        for case in ElementTree.parse(xml).iter("testcase"):
            # In JUnit's XML, a class stands between module and name; for a verdict, its test stands there.
            inner = str(case.get("classname")).partition(".")[2]
            name = "::".join(filter(None, (inner, str(case.get("name")))))
            found = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
            cases[name] = found[0] if found else "passed"
            properties[name] = {str(one.get("name")): str(one.get("value")) for one in case.iter("property")}
    return cases, properties
