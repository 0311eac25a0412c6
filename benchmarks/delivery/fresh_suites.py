"""Suites in fresh environments: the first run compiles every module, with two workers and traces recorded.

    python benchmarks/delivery/fresh_suites.py [--rounds 12] [--python 3.11] [--python 3.13]

Each round makes an environment with uv, installs the wheel of this checkout, and runs a small suite with
`pytest -n 2 --pandaprobe=record` against a server that takes everything. Prints each failure; exits with 1 if there is
one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
SUITE = """
import pytest
from pandaprobe_otel import agent, tool

@tool
def look_up(number): return {"item": "kettle", "number": number}

@agent
def assistant(question): return look_up(question)

@pytest.mark.parametrize("number", range(40))
def test_answer(number, probe):
    assert assistant(number)["item"] == "kettle"
"""


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a command; return its output, and the exit code of a failure at its end."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr + (f"\nexit code {done.returncode}" if done.returncode else "")


def fails(wheel: Path, python: str, url: str) -> str | None:
    """Run one round; return the output of a failed suite."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_suite.py").write_text(SUITE, encoding="utf-8")
        made = run("uv", "venv", "-q", "--python", python, folder / "venv")
        inside = folder / "venv" / "bin" / "python"
        made += run(
            "uv", "pip", "install", "-q", "--python", inside, "-c", ROOT / "constraints.txt", wheel, "pytest",
            "pytest-xdist",
        )  # fmt: skip
        env = {**os.environ, "PANDAPROBE_ENDPOINT": url, "PANDAPROBE_API_KEY": "sk_pp_1"}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        told = run(inside, "-m", "pytest", "-q", "-n", "2", "--pandaprobe=record", cwd=folder, env=env)
        return None if "exit code" not in made + told else made + told


def main() -> int:
    """Run the rounds."""
    from strict_pandaprobe import StrictPandaProbe

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--python", action="append")
    chosen = parser.parse_args()
    failures = 0
    with tempfile.TemporaryDirectory() as name, StrictPandaProbe(limit=100_000) as server:
        run("uv", "build", "-q", "--wheel", "--out-dir", name, ROOT)
        (wheel,) = Path(name).glob("*.whl")
        for python in chosen.python or ["3.11", "3.13"]:
            for number in range(chosen.rounds):
                before = len(server.posts())
                told = fails(wheel, python, server.url)
                arrived = len(server.posts()) - before
                if told is not None or arrived != 40:
                    failures += 1
                    print(told, f"{python}, round {number}: {arrived} of 40 traces arrived", sep="\n")
            print(f"{python}: {chosen.rounds} rounds, {failures} failures so far", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
