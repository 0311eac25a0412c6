"""Find the oldest version of an agent framework with which its tests pass, by bisection over days.

    python scripts/find_floor.py mcp agno                        # the first days of the last twelve months
    python scripts/find_floor.py mcp --days 2026-02-01 2026-08-01
    python scripts/find_floor.py mcp --every                     # all days, without bisection

Each run uses the versions of the framework and its dependencies on one day. The last line of pytest and the versions
are printed as a table, and the output of each run is saved in `--directory`. The floor is the version of the oldest day
that passes. Put it into `pyproject.toml`, into `requirements` of the instrumentor and, with the day, into
`tests/frameworks/environments/`. Needs nox, and one or two minutes per step.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
MONTHS: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """A run of a framework's tests, with the package versions of one day."""

    name: str
    day: str
    passed: bool
    summary: str
    versions: str

    def __str__(self) -> str:
        """Return the run's line in the table."""
        return f"{self.name:18} {self.day}  {'passed' if self.passed else 'FAILED'}  {self.versions}  ({self.summary})"


def first_days(today: date, months: int = MONTHS) -> list[str]:
    """Return the first day of each of the last months, oldest first."""
    counted = [today.year * 12 + today.month - 1 - back for back in range(months, -1, -1)]
    return [f"{each // 12}-{each % 12 + 1:02}-01" for each in counted]


def tried(name: str, day: str, directory: Path) -> Try:
    """Make the environment, run its tests, and save pytest's output beside it."""
    command = [sys.executable, "-m", "nox", "-f", str(ROOT / "noxfile.py"), "-s", f"frameworks({name})"]
    done = subprocess.run(
        [*command, "--envdir", str(directory), "--", "-q", "--maxfail=10"],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "AS_OF": day},
    )
    (directory / f"{name}-{day}.txt").write_text(done.stdout, encoding="utf-8")
    summaries = re.findall(r"^[= ]*(\d+ (?:passed|failed|error).*? in [\d.]+s)", done.stdout, re.MULTILINE)
    return Try(
        name=name,
        day=day,
        passed=done.returncode == 0,
        summary=summaries[-1] if summaries else "nothing ran",
        versions=versions(directory / f"frameworks-{name}" / "bin" / "python", distributions(name)),
    )


def distributions(name: str) -> list[str]:
    """Return the requirements of the environment, the framework first."""
    table = tomllib.loads((ROOT / "tests" / "frameworks" / "environments" / f"{name}.toml").read_text(encoding="utf-8"))
    return [re.split(r"[\[<>=]", requirement)[0].strip() for requirement in table["requirements"]]


def versions(python: Path, names: Sequence[str]) -> str:
    """Return the installed versions of these distributions as text."""
    if not python.is_file():
        return "-"
    program = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    done = subprocess.run([python, "-c", program, *names], check=False, capture_output=True, text=True)
    return ", ".join(f"{name} {found}" for name, found in zip(names, done.stdout.split(), strict=False)) or "-"


def bisected(name: str, days: Sequence[str], directory: Path) -> Iterator[Try]:
    """Yield runs that determine the oldest passing day, assuming that all later days pass too."""
    low, high = 0, len(days)
    while low < high:
        middle = (low + high) // 2
        result = tried(name, days[middle], directory)
        yield result
        low, high = (low, middle) if result.passed else (middle + 1, high)


def main() -> int:
    """Parse the command line and run; return 1 if no day passes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="ENVIRONMENT")
    parser.add_argument("--days", nargs="+", metavar="DAY", default=first_days(date.today()), help="oldest first")
    parser.add_argument("--every", action="store_true", help="try all of the days")
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()) / "pandaprobe-otel-floors")
    given = parser.parse_args()
    given.directory.mkdir(parents=True, exist_ok=True)
    without: list[str] = []
    for name in given.names:
        tries = (
            (tried(name, day, given.directory) for day in given.days)
            if given.every
            else bisected(name, given.days, given.directory)
        )
        passed: list[Try] = []
        for each in tries:
            print(each, flush=True)
            passed += [each] if each.passed else []
        if passed:
            print(f"{name}: the oldest passing version is that of {min(one.day for one in passed)}", flush=True)
        else:
            without.append(name)
    if without:
        print(f"no day passes: {', '.join(without)}", file=sys.stderr)
    return 1 if without else 0


if __name__ == "__main__":
    sys.exit(main())
