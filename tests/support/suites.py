"""Small test suites that are run as a user runs them: pytest in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

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

PLUGINS: Final = ("xdist", "rerunfailures")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run of pytest came to; `cases` gives the outcome of each test and verdict by its name."""

    code: int
    out: str
    cases: Mapping[str, str]
    properties: Mapping[str, Mapping[str, str]]


Judged = Callable[..., Outcome]
"""Runs a suite with its verdicts: the code, then options of pytest."""


def run_suite(
    folder: Path, code: str, *arguments: str, env: Mapping[str, str] | None = None, plugins: tuple[str, ...] = ()
) -> Outcome:
    """Run the tests in `code`, after the agent of this module, and return what came of it.

    Of the installed plugins only ours and those named are loaded.
    """
    (folder / "test_suite.py").write_text(AGENT + code, encoding="utf-8")
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("PANDAPROBE_", "OTEL_", "PYTEST"))
    }
    clean |= {"NO_PROXY": "127.0.0.1,localhost", "HOME": str(folder), "GITHUB_ACTIONS": "", "CI": ""}
    kept_out = [f"-pno:{name}" for name in ("asyncio", "timeout", *PLUGINS) if name not in plugins]
    xml = folder / "junit.xml"
    xml.unlink(missing_ok=True)
    alone = ["-c", os.devnull, f"--rootdir={folder}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *kept_out, *alone, f"--junitxml={xml}", *arguments],
        cwd=folder,
        env={**clean, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=100,
        check=False,
    )
    cases, properties = _read(xml)
    return Outcome(code=done.returncode, out=done.stdout, cases=cases, properties=properties)


def _read(xml: Path) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    cases: dict[str, str] = {}
    properties: dict[str, dict[str, str]] = {}
    if xml.exists():
        for case in ElementTree.parse(xml).iter("testcase"):
            # What stands between module and last name is the class in JUnit's form; of a verdict, the test.
            inner = str(case.get("classname")).partition(".")[2]
            name = "::".join(filter(None, (inner, str(case.get("name")))))
            found = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
            cases[name] = found[0] if found else "passed"
            properties[name] = {str(one.get("name")): str(one.get("value")) for one in case.iter("property")}
    return cases, properties
