"""Find the oldest version of an agent framework with which its tests pass, by bisection over days.

    python scripts/find_floor.py mcp                             # the first days of the last twelve months
    python scripts/find_floor.py mcp 2026-02-01 2026-08-01       # these days, oldest first

Each run uses the versions of the framework and its dependencies on one day. The last line of pytest and the versions
are printed, and the output of each run is saved in the temporary directory. The floor is the version of the oldest day
that passes. Put it into `pyproject.toml`, into `requirements` of the instrumentor and, with the day, into
`tests/frameworks/environments/`. Needs nox, and one or two minutes per step.
"""

from __future__ import annotations

import bisect
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PLACE: Final = Path(tempfile.gettempdir()) / "pandaprobe-otel-floors"


def passes(name: str, day: str) -> bool:
    """Make the environment, run its tests, and print the result."""
    command = [sys.executable, "-m", "nox", "-f", str(ROOT / "noxfile.py"), "-s", f"frameworks({name})"]
    done = subprocess.run(
        [*command, "--envdir", str(PLACE), "--", "-q", "--maxfail=10"],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "AS_OF": day},
    )
    (PLACE / f"{name}-{day}.txt").write_text(done.stdout, encoding="utf-8")
    summaries = re.findall(r"^[= ]*(\d+ (?:passed|failed|error).*? in [\d.]+s)", done.stdout, re.MULTILINE)
    summary = ["nothing ran", *summaries][-1]
    print(f"{name:18} {day}  {'FAILED' if done.returncode else 'passed'}  {versions(name)}  ({summary})", flush=True)
    return done.returncode == 0


def versions(name: str) -> str:
    """Return the installed versions of the environment's requirements, the framework first."""
    table = tomllib.loads((ROOT / "tests" / "frameworks" / "environments" / f"{name}.toml").read_text(encoding="utf-8"))
    names = [re.split(r"[\[<>=]", requirement)[0].strip() for requirement in table["requirements"]]
    python = PLACE / f"frameworks-{name}" / "bin" / "python"
    program = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    if not python.is_file():
        return "-"
    done = subprocess.run([python, "-c", program, *names], check=False, capture_output=True, text=True)
    return ", ".join(f"{name} {found}" for name, found in zip(names, done.stdout.split(), strict=False)) or "-"


def main(name: str, *days: str) -> int:
    """Run the bisection, which assumes that all days after a passing one pass too; return 1 if no day passes."""
    PLACE.mkdir(parents=True, exist_ok=True)
    months = [date.today().year * 12 + date.today().month - 1 - back for back in range(12, -1, -1)]
    tried: Sequence[str] = days or [f"{each // 12}-{each % 12 + 1:02}-01" for each in months]
    first = bisect.bisect_left(tried, True, key=lambda day: passes(name, day))
    if first == len(tried):
        print(f"no day passes: {name}", file=sys.stderr)
        return 1
    print(f"{name}: the oldest passing version is that of {tried[first]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
