"""A reader who runs the programs and commands of a page of the documentation, each page in its own folder.

Python and our commands run in forks of a process that has imported their modules (`forks`). The shell runs all
other commands except `python -m venv`, which is replaced by an empty directory, and `pip`, whose arguments are only
checked (`doc_pip`).
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from doc_blocks import Block, Program
from forks import Forks
from suites import COMMAND, LOADED, PYTEST

_HERE: Final = Path(__file__).parent
_BESIDE: Final = Path(sys.executable).parent
_IN_A_FORK: Final = {
    "pandaprobe-otel": COMMAND,
    "pytest": f"import sys; del sys.path[0]; {PYTEST}",
    **dict.fromkeys(
        ("python", "python3"),
        "import runpy, sys; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')",
    ),
}
"""The code of each command that is forked."""
_LOADED: Final = (
    *("anthropic", "asyncio", "fastapi", "openai", "rich.console", "uvicorn"),
    "opentelemetry.sdk.trace.export.in_memory_span_exporter",
    *(f"pandaprobe_otel.{name}" for name in ("cli.traces", "demo.runner", "local.server")),
)
_SCRIPT: Final = """#!/bin/sh
if [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin" && : >"$3/bin/activate"; exit; fi
case "${{0##*/}}$1" in python-* | python3-*) exec {python} "$@" ;; esac
exec {python} -S -E {forks} ask {socket} "{code}" "${{0##*/}}" "$@"
"""
_PROGRAM: Final = """
_chunks, _page = {chunks!r}, {page!r}
for _line, _text in _chunks:
    exec(compile("\\n" * _line + _text, _page, "exec", dont_inherit=True))
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


class Tools:
    """The commands of the documentation, as scripts in `folder`, and the process that forks programs."""

    def __init__(self, folder: Path, modules: Sequence[str] = (*LOADED, *_LOADED)) -> None:
        self.folder = folder
        self.forks = Forks(*modules)
        python = sys.executable
        for name, code in _IN_A_FORK.items():
            asks = {"forks": _HERE / "forks.py", "socket": self.forks.path, "code": code}
            self._write(name, _SCRIPT.format(python=python, **asks))
        self._write("pip", _PIP.format(python=python, checker=_HERE / "doc_pip.py"))

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")
        (self.folder / name).chmod(0o755)


@dataclass
class Reader:
    """The reader of one page, with a folder, an environment, and the exports and servers of earlier steps."""

    tools: Tools
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
        page = program.blocks[0].page
        code = _PROGRAM.format(chunks=[(line, self._with_ports(text)) for line, text in program.chunks], page=page)
        done = self.tools.forks.run(code, self.environment, folder=self.folder)
        return Ran(str(program.blocks[0]), done.returncode, done.stdout, done.stderr)

    def _shell(self, block: Block) -> Ran:
        text = self._with_ports(block.text)
        tools = f"{self.tools.folder}{os.pathsep}{self.environment['PATH']}"
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
