"""A process that has loaded what a judged suite needs, and runs each suite in a fork of its own.

Loading takes two seconds of CPU, ten times as long as what a small suite does. The fork is as separate as a new
process: working directory, environment, libraries, threads and exit handlers are its own.

A request is a line of JSON on standard input; the answer is a line with the exit code on standard output.
"""

from __future__ import annotations

import gc
import json
import os
import pkgutil
import signal
import sys
from importlib import import_module
from typing import Any, Final

import pytest

_LONGEST_S: Final = 100
_LOADED: Final = ("_pytest.junitxml", "pdb", "httpcore", "httpx", "stringprep", "queue", "encodings.idna")
_PACKAGES: Final = (
    *(f"pandaprobe_otel.{room}" for room in ("api", "delivery", "evals", "mapping", "tracing", "transport")),
    *(
        f"pandaprobe_otel_integrations.{library}"
        for library in ("openai", "anthropic", "mistralai", "groq", "together")
    ),
)
_MODULES: Final = ("bootstrap", "decorators", "pipeline", "scores", "self_telemetry", "status_report")


def load() -> None:
    """Import what suites need, and start nothing."""
    for name in (*_LOADED, *(f"pandaprobe_otel.{module}" for module in _MODULES)):
        import_module(name)
    for name in _PACKAGES:
        for module in pkgutil.walk_packages(import_module(name).__path__, f"{name}."):
            import_module(module.name)
    gc.freeze()  # no fork looks at, and so copies, what all of them share


def run(request: dict[str, Any]) -> int:
    """Become the suite; the return value is the exit code."""
    signal.alarm(_LONGEST_S)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["env"])
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    sys.path[0] = request["folder"]  # as with `python -m pytest`
    return int(pytest.main(request["arguments"]))


def serve() -> int | None:
    """Answer requests until there are no more; in a fork, return the exit code of the suite."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            return run(json.loads(line))
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()
    return None


if __name__ == "__main__":
    load()
    sys.exit(serve())
