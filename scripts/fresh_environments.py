"""A new environment for a program, as a reader makes it: the built wheel, and only the named packages.

Needs uv (in the extra `dev`). Environments share nothing but uv's cache.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
_UV: Final = (sys.executable, "-m", "uv")
_OF_THE_CALLER: Final = re.compile(
    r"(PANDAPROBE|OTEL|OPENAI|ANTHROPIC|GOOGLE|GEMINI|AWS|LANGSMITH|LANGCHAIN|PYTEST)_"
    r"|(PYTHONPATH|PYTHONHOME|VIRTUAL_ENV|HOME|USERPROFILE|CI)$"
)
"""Variables of the caller that a program does not get, since a reader has not set them."""
_NO_WARNING: Final = re.compile(r"^pandaprobe: |\bINFO\b")
"""Pattern of lines that are not warnings: progress, and log lines with the level INFO."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """The outcome of a command: exit code, output and faults."""

    code: int
    out: str
    err: str

    @property
    def faults(self) -> list[str]:
        """The failure of the command, or its warnings about this library; empty if there is neither."""
        if self.code:
            return [f"exit code {self.code}\n{self.out[-3000:]}\n{self.err[-3000:]}"]
        ours = [line for line in self.err.splitlines() if "pandaprobe" in line and not _NO_WARNING.search(line)]
        return [f"it warns: {line}" for line in ours]


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A Python with the requested packages, and an empty folder in which commands run."""

    programs: Path
    folder: Path

    def run(self, command: str, variables: Mapping[str, str], *, timeout_s: float = 180.0) -> Ran:
        """Run a shell command in the folder, with this environment's `python` and only these variables."""
        kept = {name: value for name, value in os.environ.items() if not _OF_THE_CALLER.match(name)}
        kept["PANDAPROBE_SHUTDOWN_TIMEOUT"] = "60"  # The machine may be busy.
        path = os.pathsep.join([str(self.programs), kept.get("PATH", os.defpath)])
        home = {"HOME": str(self.folder), "USERPROFILE": str(self.folder), "TMPDIR": str(self.folder)}
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            # Files, because a process that the program leaves running would keep a pipe open.
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", command],
                cwd=self.folder,
                env={**kept, **home, "PATH": path, "NO_PROXY": "127.0.0.1,localhost", **variables},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                timeout=timeout_s,
                check=False,
            )
            out.seek(0)
            err.seek(0)
            return Ran(code=done.returncode, out=out.read(), err=err.read())


@contextmanager
def built_wheel() -> Generator[Path]:
    """Yield the wheel of this checkout. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory(prefix="extras-wheel.") as directory:
        subprocess.run([*_UV, "build", "--quiet", "--wheel", "--out-dir", directory, str(ROOT)], check=True)
        (wheel,) = Path(directory).glob("*.whl")
        yield wheel


@contextmanager
def fresh_environment(wheel: Path, requirements: Iterable[str]) -> Generator[Environment]:
    """Yield an environment with `requirements`, as `pip install` makes it, and delete it after the block.

    The requirement `pandaprobe-otel` is replaced by `wheel`. Raises CalledProcessError if they cannot be installed.
    """
    with tempfile.TemporaryDirectory(prefix="fresh.", ignore_cleanup_errors=True) as work:
        home, folder = Path(work) / "environment", Path(work) / "reader"
        folder.mkdir()
        python = home / "bin" / "python"
        _uv("venv", "--quiet", "--python", sys.executable, str(home))
        _uv("pip", "install", "--quiet", "--python", str(python), *(_of_wheel(each, wheel) for each in requirements))
        yield Environment(programs=home / "bin", folder=folder)


def verdict(name: str, faults: Sequence[str], seconds: float) -> bool:
    """Print the line of `name`, and its faults below; return whether there are none."""
    print(f"{'FAILED' if faults else 'ok':6} {name} ({seconds:.0f} s)", flush=True)
    for fault in faults:
        print("       " + fault.replace("\n", "\n       "), flush=True)
    return not faults


def summary(verdicts: Sequence[bool]) -> int:
    """Print the counts; return the exit code."""
    print(f"{sum(verdicts)} ok, {len(verdicts) - sum(verdicts)} failed")
    return 0 if all(verdicts) else 1


def _of_wheel(requirement: str, wheel: Path) -> str:
    found = re.fullmatch(r"pandaprobe-otel(\[[\w,]+\])?", requirement)
    return requirement if found is None else f"pandaprobe-otel{found[1] or ''} @ {wheel.as_uri()}"


def _uv(*arguments: str) -> None:
    told = dict(os.environ)
    for ours, theirs in (("PIP_INDEX_URL", "UV_DEFAULT_INDEX"), ("PIP_EXTRA_INDEX_URL", "UV_INDEX")):
        if ours in told:
            told.setdefault(theirs, told[ours])  # uv does not read pip's settings
    subprocess.run([*_UV, *arguments], check=True, env=told)
