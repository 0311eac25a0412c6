"""A process that has imported what test suites with verdicts need, and runs each suite or command in a fork.

Imports take two seconds of CPU, ten times as long as a small suite. A fork is as separate as a new process: it has its
own working directory, environment, libraries, threads, signals and exit handlers.

A request is a line of JSON on standard input; the answer is a line with the exit code on standard output.
"""

from __future__ import annotations

import gc
import json
import os
import pkgutil
import pty
import signal
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest

from pandaprobe_otel import cli

_LONGEST_S: Final = 240
_LOADED: Final = ("_pytest.junitxml", "pdb", "httpcore", "httpx", "stringprep", "queue", "encodings.idna")
_PACKAGES: Final = (
    *(f"pandaprobe_otel.{room}" for room in ("api", "delivery", "evals", "mapping", "assembly", "sdk", "transport")),
    *(f"pandaprobe_otel_integrations.{library}" for library in ("anthropic", "mistralai", "openai")),
)
_MODULES: Final = (
    "bootstrap", "capture.factories", "capture.scores", "cli.app", "cli.eval", "pipeline",
    "reporting.delivery_status",
)  # fmt: skip


def load() -> None:
    """Import the modules that suites need, without starting anything."""
    for name in (*_LOADED, *(f"pandaprobe_otel.{module}" for module in _MODULES)):
        import_module(name)
    for name in _PACKAGES:
        for module in pkgutil.walk_packages(getattr(import_module(name), "__path__", ()), f"{name}."):
            import_module(module.name)
    gc.freeze()  # keeps forks from touching, and so copying, the shared objects


def become(request: dict[str, Any]) -> int:
    """Run the requested program; return its exit code."""
    signal.alarm(_LONGEST_S)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also if this process was started in the background
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["env"])
    if not request["terminal"]:
        nothing = os.open(os.devnull, os.O_RDONLY)
        output, errors = (os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for name in ("out", "err"))
        for source, target in ((nothing, 0), (output, 1), (errors, 2)):
            os.dup2(source, target)
    if request["program"] == "pytest":
        sys.path[0] = request["folder"]  # as with `python -m pytest`
        return int(pytest.main(request["arguments"]))
    sys.argv = [request["program"], *request["arguments"]]
    cli.main()
    return 0


def serve() -> int | None:
    """Answer requests until there are no more; in a fork, return the exit code of its program."""
    for line in sys.stdin:
        request = json.loads(line)
        child, terminal = pty.fork() if request["terminal"] else (os.fork(), -1)
        if child == 0:
            return become(request)
        if request["terminal"]:
            _copy(terminal, Path(request["out"]))
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()
    return None


def _copy(terminal: int, screen: Path) -> None:
    with screen.open("wb", buffering=0) as file, suppress(OSError):  # Linux raises it when all processes have ended
        while part := os.read(terminal, 65536):
            file.write(part)
    os.close(terminal)


if __name__ == "__main__":
    load()
    sys.exit(serve())
