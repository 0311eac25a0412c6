"""Run the tests of agent frameworks, each set of frameworks in an environment of its own.

    python tests/frameworks/run.py                          # what CI runs: without tests marked `nightly`
    python tests/frameworks/run.py --all                    # everything, as the nightly run does
    python tests/frameworks/run.py langchain -- -k stream   # one environment, with options for pytest
    python tests/frameworks/run.py --all --oldest           # each with the oldest version that pyproject.toml claims
    python tests/frameworks/run.py mcp --day 2026-03-01     # with the versions of a day: scripts/find_floor.py

Environments are made with uv if it is installed (the extra `dev` has it), otherwise with venv and pip. They are kept
in `--directory` and reused until their requirements change. `--oldest` and `--day` need uv.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent.parent
# This library as an app installs it, with the local PandaProbe, and the packages that run the tests.
COMMON: Final = (
    "-e",
    f"{ROOT}[local,cli,openai,anthropic]",
    "pytest>=8.3",
    "pytest-asyncio>=0.24",
    "pytest-timeout>=2.3",
)
NOTHING_COLLECTED: Final = 5
TODAY_ALL_THE_SAME: Final = ("orjson", "pytest", "pytest-asyncio", "pytest-timeout")
"""Packages that stay current in an environment of the past, because this library or the tests need a newer version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """One file of environments/. Frameworks with compatible requirements share one environment.

    `requirements` have pip's syntax and no upper bound, since users install the current version. `when` is "ci" (part
    of .ci/run) or "nightly" (only with `--all`). `oldest` is a day on which the oldest claimed version was current. If
    `day` is set, every package is the newest of that day.
    """

    name: str
    when: str
    requirements: tuple[str, ...]
    oldest: str
    day: str | None = None

    def as_of(self, day: str) -> Environment:
        """Return this environment with the package versions of that day."""
        names = tuple(re.split(r"[<>=]", each)[0].strip() for each in self.requirements)
        return replace(self, requirements=names, day=day)

    def at_its_oldest(self) -> Environment:
        """Return this environment with the framework (the first requirement) at its floor and packages of that time."""
        framework = self.requirements[0].replace(">=", "==")
        past = self.as_of(self.oldest)
        return replace(past, requirements=(framework, *past.requirements[1:]))

    @property
    def fingerprint(self) -> str:
        """A hash of everything that the environment is made from."""
        project = (ROOT / "pyproject.toml").read_bytes()
        return hashlib.sha256(repr((sys.version, self.requirements, self.day, COMMON, project)).encode()).hexdigest()

    @property
    def tests(self) -> list[str]:
        """The test files of this environment."""
        return sorted(str(path) for path in HERE.glob(f"test_{self.name}*.py"))


def environments() -> dict[str, Environment]:
    """Return all environments by name."""
    tables = {path.stem: tomllib.loads(path.read_text("utf-8")) for path in sorted(HERE.glob("environments/*.toml"))}
    return {
        name: Environment(
            name=name, when=table["when"], requirements=tuple(table["requirements"]), oldest=table["oldest"]
        )
        for name, table in tables.items()
    }


def uv_command() -> list[str] | None:
    """Return the command that runs uv here, or None if uv is not installed."""
    if find_spec("uv") is not None:
        return [sys.executable, "-m", "uv"]
    found = shutil.which("uv")
    return None if found is None else [found]


def made(environment: Environment, directory: Path) -> Path:
    """Return the environment's Python after installing its packages if they have changed. Raises CalledProcessError."""
    home = directory / "-".join(filter(None, (environment.name, environment.day)))
    python, stamp = home / "bin" / "python", home / "made-of"
    if stamp.is_file() and stamp.read_text() == environment.fingerprint:
        return python
    shutil.rmtree(home, ignore_errors=True)
    packages = [*COMMON, *environment.requirements, *_until(environment.day)]
    uv = uv_command()
    if uv is None or not _made_by_uv(uv, home, python, packages):
        if environment.day is not None:
            raise LookupError(f"{environment.name} as of {environment.day} cannot be made, or not without uv")
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    stamp.write_text(environment.fingerprint)
    return python


def _until(day: str | None) -> list[str]:
    """Return options with which `uv pip install` takes the newest packages of that day."""
    if day is None:
        return []
    today = f"{date.today() + timedelta(days=1)}"
    return ["--exclude-newer", day, *(f"--exclude-newer-package={name}={today}" for name in TODAY_ALL_THE_SAME)]


def _made_by_uv(uv: Sequence[str], home: Path, python: Path, packages: Sequence[str]) -> bool:
    for command in (
        [*uv, "venv", "--quiet", "--python", sys.executable, str(home)],
        [*uv, "pip", "install", "--quiet", "--python", str(python), *packages],
    ):
        if subprocess.run(command, check=False, env=_uv_settings(os.environ)).returncode:
            print("uv could not make it", flush=True)
            return False
    return True


def _uv_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables, with pip's index copied to uv, which does not read pip's settings."""
    told = dict(environ)
    for ours, theirs in (("PIP_INDEX_URL", "UV_DEFAULT_INDEX"), ("PIP_EXTRA_INDEX_URL", "UV_INDEX")):
        if ours in environ:
            told.setdefault(theirs, environ[ours])
    return told


def tested(environment: Environment, python: Path, options: Sequence[str]) -> bool:
    """Return whether the environment's tests pass. No tests is a failure, unless `options` deselected them all."""
    files = environment.tests
    command: list[str | Path] = [python, "-m", "pytest", "-c", HERE / "pytest.ini", "--rootdir", ROOT, *options, *files]
    code = subprocess.run(command, check=False, cwd=ROOT).returncode if files else NOTHING_COLLECTED
    return code == 0 or (code == NOTHING_COLLECTED and bool(options) and bool(files))


def run(chosen: Sequence[Environment], directory: Path, options: Sequence[str]) -> list[str]:
    """Run the tests of each environment while the next one is made. Return the names of those that failed."""
    failed: list[str] = []
    with ThreadPoolExecutor(max_workers=1) as pool:
        builds: list[tuple[Environment, Future[Path]]] = [(each, pool.submit(made, each, directory)) for each in chosen]
        for environment, build in builds:
            print(f"-- {environment.name}", flush=True)
            begun = time.monotonic()
            try:
                passed = tested(environment, build.result(), options)
            except (LookupError, subprocess.CalledProcessError) as error:
                print(error, flush=True)
                passed = False
            print(
                f"-- {environment.name}: {'passed' if passed else 'FAILED'}, {time.monotonic() - begun:.0f} s",
                flush=True,
            )
            if not passed:
                failed.append(environment.name)
    return failed


def main() -> int:
    """Parse the command line, run the chosen environments and return the exit code."""
    known = environments()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="ENVIRONMENT", help=f"of {', '.join(known)}; default: those of CI")
    parser.add_argument("--all", action="store_true", help="every environment")
    age = parser.add_mutually_exclusive_group()
    age.add_argument("--oldest", action="store_true", help="with the oldest version that is claimed")
    age.add_argument("--day", help="with the versions that were current on a day, as 2026-03-01")
    parser.add_argument("--directory", type=Path, default=ROOT / ".frameworks", help="where the environments are kept")
    arguments, options = _split(sys.argv[1:])
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.names if name not in known]:
        parser.error(f"there is no environment {', '.join(unknown)}; there are: {', '.join(known)}")
    names = given.names or [name for name, each in known.items() if given.all or each.when == "ci"]
    chosen = [known[name] for name in names]
    if given.oldest:
        chosen = [each.at_its_oldest() for each in chosen]
    elif given.day:
        chosen = [each.as_of(given.day) for each in chosen]
    if not given.names and not given.all:
        options = ["-m", "not nightly", *options]
    failed = run(chosen, given.directory.resolve(), options)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


if __name__ == "__main__":
    sys.exit(main())
