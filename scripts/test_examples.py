"""Run each example as its reader does: alone, with the packages that its docstring names, and without a key.

    python scripts/test_examples.py                       every example
    python scripts/test_examples.py langchain_agent.py    these

Each example is copied into an empty folder, and the first command below its `pip install` is run. The command must exit
with 0 and without a warning of this library. Its last lines must name the traces and their database, which must contain
these traces. Needs the extra `dev`, and takes minutes.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from docs_pages.examples_page import EXAMPLES, Example, examples
from fresh_environments import ROOT, Environment, Ran, built_wheel, fresh_environment, summary, verdict
from pandaprobe_otel import Client
from pandaprobe_otel.local import LocalServer

_SEEN: Final = re.compile(r"Traces: (?P<told>\d.*)\nLook at them: pandaprobe-otel local --db (?P<file>\S+)$")
_TESTED: Final = re.compile(r"--runxfail shows the trace\n=+ 6 passed, 2 xfailed in .*$")
"""Last lines of an example that is run by pytest and leaves no traces."""


def programs() -> list[Example]:
    """Return the examples that can be run, without the configurations of other programs."""
    return [each for each in examples() if each.path.endswith((".py", ".ipynb"))]


def command_of(example: Example) -> str:
    """Return the command that runs an example. Raises ValueError if its first text does not name one."""
    if example.path.endswith(".ipynb"):
        return f"python {ROOT / 'scripts' / 'run_notebook.py'} {example.path}"
    found = re.search(r"pip install .*\n *((?:python|pytest) [^#\n]+)", example.source)
    if found is None:
        raise ValueError(f"{example.path} must name, below `pip install`, the command that runs it")
    return found[1].strip()


def faults_of(ran: Ran) -> list[str]:
    """Return the faults of a run."""
    said = ran.out.strip()
    seen = _SEEN.search(said)
    if ran.faults or _TESTED.search(said):
        return ran.faults
    if seen is None:
        return [f"its last lines are:\n{said[-500:]}"]
    told = sum(int(count) for count in re.findall(r"\d+(?= in session | without a session)", seen["told"]))
    with LocalServer(seen["file"]) as server, Client(server.api_key, endpoint=server.url) as client:
        there = len(list(client.traces.iter()))
    return [] if told == there > 0 else [f"it reports {told} traces, but {there} are stored"]


def run(example: Example, environment: Environment) -> Ran:
    """Run an example in its folder, and return the result."""
    shutil.copy(EXAMPLES / example.path, environment.folder)
    return environment.run(command_of(example), {})


def faults(example: Example, wheel: Path) -> list[str]:
    """Return the faults of an example."""
    try:
        with fresh_environment(wheel, shlex.split(example.needs)) as environment:
            return faults_of(run(example, environment))
    except subprocess.SubprocessError as error:
        return [str(error)]


def main() -> int:
    """Parse the command line, run the examples, and return the exit code."""
    known = {each.path: each for each in programs()}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="FILE", help="below examples/; default: all")
    names: list[str] = parser.parse_args().names or [*known]
    if strange := [name for name in names if name not in known]:
        parser.error(f"there is no example {', '.join(strange)}; the examples are: {', '.join(known)}")
    verdicts: list[bool] = []
    with built_wheel() as wheel:
        for name in names:
            begun = time.monotonic()
            verdicts.append(verdict(name, faults(known[name], wheel), time.monotonic() - begun))
    return summary(verdicts)


if __name__ == "__main__":
    sys.exit(main())
