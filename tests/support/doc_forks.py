"""A process that has imported the modules of the documentation's programs and commands, and runs each in a fork.

Imports take ten times as long as the programs. A fork is as separate as a new process: it has its own folder,
environment, threads and exit handlers. Each line of standard input is a request in JSON. It has either `chunks` of
Python with their lines on the page, or the `pid` of a script that stands for a command: the fork takes over the
script's arguments, environment and files. The fork writes the exit code to the file `reply`.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import suite_forks

_LONGEST_S: Final = 240
_LOADED: Final = (
    "anthropic",
    "asyncio",
    "fastapi",
    "openai",
    "opentelemetry.sdk.trace.export.in_memory_span_exporter",
    "pandaprobe_otel.cli.traces",
    "pandaprobe_otel.demo.runner",
    "pandaprobe_otel.local.server",
    "rich.console",
    "uvicorn",
)


def serve() -> None:
    """Answer requests until an empty line."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks that wait for the programs
    while (line := sys.stdin.readline()).strip():
        request = _read(line)
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            child = os.fork()
            if child == 0:
                return become(request)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            Path(request["reply"]).write_text(f"{code}\n", encoding="ascii")
            os._exit(0)
    return None


def _read(line: str) -> dict[str, Any]:
    try:
        request: dict[str, Any] = json.loads(line)
    except ValueError as error:
        raise ValueError(f"a line of standard input is not a request: {line!r}") from error
    return request


def become(request: dict[str, Any]) -> None:
    """Run the requested program, from its first line to the exit of the interpreter."""
    signal.alarm(_LONGEST_S)
    if "pid" in request:
        return _command(Path("/proc") / str(request["pid"]))
    files = (os.devnull, request["out"], request["err"])
    _move(request["folder"], request["env"], files)
    sys.path[0] = request["folder"]
    names: dict[str, Any] = {"__name__": "__main__"}
    for line, text in request["chunks"]:
        exec(compile("\n" * line + text, request["page"], "exec", dont_inherit=True), names)
    return None


def _command(process: Path) -> None:
    _, script, *arguments = process.joinpath("cmdline").read_text(encoding="utf-8").split("\0")[:-1]
    variables = process.joinpath("environ").read_text(encoding="utf-8").split("\0")
    environment = dict(each.split("=", 1) for each in variables if "=" in each)
    _move(os.readlink(process / "cwd"), environment, [str(process / "fd" / number) for number in "012"])
    sys.path[0] = os.getcwd()
    name = Path(script).name
    if name == "python":
        return _python(arguments)
    sys.argv = [name, *arguments]
    if name == "pytest":
        del sys.path[0]
        sys.exit(int(import_module("pytest").main(arguments)))
    import_module("pandaprobe_otel.cli").main()
    return None


def _python(arguments: Sequence[str]) -> None:
    sys.argv = list(arguments)
    runpy.run_path(arguments[0], run_name="__main__")


def _move(folder: str, environment: dict[str, str], files: Sequence[str]) -> None:
    opened = [os.open(path, flag) for path, flag in zip(files, (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY), strict=True)]
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, file in enumerate(opened):
        os.dup2(file, number)


if __name__ == "__main__":
    suite_forks.load()
    for _name in _LOADED:
        import_module(_name)
    gc.freeze()  # keeps forks from touching, and so copying, the shared objects
    serve()
