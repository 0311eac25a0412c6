"""A reader who runs the programs and commands of a page of the documentation, each page in its own folder.

Python and our commands run in forks of a process that has imported their modules (`doc_forks`). The shell runs all
other commands except `python -m venv`, which is replaced by an empty directory, and `pip`, whose arguments are only
checked (`doc_pip`).
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from doc_blocks import Block, Program

_HERE: Final = Path(__file__).parent
_BESIDE: Final = Path(sys.executable).parent
_IN_A_FORK: Final = ("pandaprobe-otel", "pytest", "python", "python3")
_SCRIPT: Final = """#!/bin/sh
if [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin" && : >"$3/bin/activate"; exit; fi
case "${{0##*/}}$1" in python-* | python3-*) exec {python} "$@" ;; esac
mkfifo "{folder}/$$"
echo '{{"pid": '$$', "reply": "{folder}/'$$'"}}' >{requests}
read -r code <"{folder}/$$"
exit "$code"
"""
_PIP: Final = """#!/bin/sh
exec {python} -S -E {checker} "$@"
"""
_LONGEST_S: Final = 240.0
_PORTS: Final = ("8787", "4318", "4317")
"""Ports in the documentation; they are replaced by free ports for each page that starts a server."""


@dataclass(frozen=True, slots=True)
class Ran:
    """The result of one step."""

    step: str
    code: int
    out: str
    err: str


class Forks:
    """The process that forks Python programs and commands, as a context manager. It reads requests from `folder`."""

    def __init__(self, folder: Path) -> None:
        self._requests = folder / "requests"
        self._reply = folder / "reply"
        self.tools = folder / "tools"
        self.tools.mkdir()
        python = sys.executable
        for name in _IN_A_FORK:
            self._write(name, _SCRIPT.format(python=python, folder=folder, requests=self._requests))
        self._write("pip", _PIP.format(python=python, checker=_HERE / "doc_pip.py"))

    def _write(self, name: str, text: str) -> None:
        (self.tools / name).write_text(text, encoding="utf-8")
        (self.tools / name).chmod(0o755)

    def __enter__(self) -> Self:
        os.mkfifo(self._requests)
        os.mkfifo(self._reply)
        self._pipe = os.open(self._requests, os.O_RDWR)  # opened for reading too, so that the pipe never ends
        self._process = subprocess.Popen([sys.executable, _HERE / "doc_forks.py"], stdin=self._pipe)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.write(self._pipe, b"\n")
        self._process.wait(timeout=_LONGEST_S)
        os.close(self._pipe)

    def check(self) -> None:
        """Raise AssertionError if the process has ended."""
        assert self._process.poll() is None, f"doc_forks.py has ended with {self._process.returncode}"

    def run(self, request: dict[str, Any]) -> int:
        """Send a request, and return the exit code of its program."""
        self.check()
        os.write(self._pipe, json.dumps({**request, "reply": str(self._reply)}).encode() + b"\n")
        return int(self._reply.read_text(encoding="ascii"))


@dataclass
class Reader:
    """The reader of one page, with a folder, an environment, and the exports and servers of earlier steps."""

    forks: Forks
    folder: Path
    environment: dict[str, str]
    _ports: dict[str, str] = field(default_factory=dict[str, str])
    _exports: list[str] = field(default_factory=list[str])
    _running: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        self.folder.mkdir()
        path = os.pathsep.join([str(_BESIDE), self.environment.get("PATH", os.defpath)])
        self.environment |= {"PATH": path, "HOME": str(self.folder)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    def follow(self, step: Program | Block) -> Ran | None:
        """Run one step of the page; return None for a step without a result."""
        if isinstance(step, Program):
            return self._python(step)
        if step.is_file:
            (self.folder / step.title).write_text(self._with_ports(step.text), encoding="utf-8")
            return None
        if step.is_server:
            self._serve(step)
            return None
        return self._shell(step)

    def _python(self, program: Program) -> Ran:
        out, err = (self.folder / name for name in (".out", ".err"))
        for file in (out, err):
            file.write_text("", encoding="utf-8")
        code = self.forks.run(
            {
                "chunks": [(line, self._with_ports(text)) for line, text in program.chunks],
                "page": program.blocks[0].page,
                "folder": str(self.folder),
                "env": self.environment,
                "out": str(out),
                "err": str(err),
            }
        )
        return Ran(str(program.blocks[0]), code, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))

    def _shell(self, block: Block) -> Ran:
        self.forks.check()
        text = self._with_ports(block.text)
        tools = f"{self.forks.tools}{os.pathsep}{self.environment['PATH']}"
        done = subprocess.run(
            _bash([*self._exports, text]),
            cwd=self.folder,
            env={**self.environment, "PATH": tools},
            capture_output=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
            timeout=_LONGEST_S,
            check=False,
        )
        self._exports += [line for line in text.splitlines() if line.startswith("export ")]
        return Ran(str(block), done.returncode, done.stdout, done.stderr)

    def _serve(self, block: Block) -> None:
        """Start a command, and wait for its first output, which shows that it listens."""
        self._ports |= {port: str(_free_port()) for port in _PORTS if port not in self._ports}
        process = subprocess.Popen(
            _bash([*self._exports, "exec " + self._with_ports(block.text).strip()]),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        self._running.callback(_end, process)
        assert process.stdout is not None
        assert process.stdout.readline()

    def _with_ports(self, text: str) -> str:
        for named, taken in self._ports.items():
            text = text.replace(named, taken)
        # The page's key is a placeholder, which this library refuses with a warning.
        return text.replace("sk_pp_...", "sk_pp_local")


def _bash(lines: Sequence[str]) -> list[str]:
    return ["bash", "-euo", "pipefail", "-c", "\n".join(lines)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=60)
    if process.poll() is None:
        process.kill()
        process.communicate()
