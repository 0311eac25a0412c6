"""Test the built wheel away from its sources, in a separate environment.

    python scripts/test_wheel.py dist/*.whl                          newest dependencies, this Python
    python scripts/test_wheel.py dist/*.whl --python 3.13            another Python
    python scripts/test_wheel.py dist/*.whl --dependencies named     versions of constraints.txt
    python scripts/test_wheel.py dist/*.whl --dependencies floor     oldest versions in pyproject.toml
    python scripts/test_wheel.py dist/*.whl -- -k transport          with options for pytest

Needs uv (in the extra `outer`). With `floor`, only the library is tested, without its integrations, since
scripts/oldest_client.sh tests the oldest client libraries. Warnings of old versions are then not failures.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
SOURCES: Final = ("pandaprobe_otel", "integrations")
# The library's own extras, and two clients for the demo and for the spans that clients make themselves.
LIBRARY_EXTRAS: Final = ("cli", "cost", "gateway", "local", "pandas", "redis")
CLIENT_EXTRAS: Final = ("openai", "anthropic")
OF_OTHER_CLIENTS: Final = ("aiobotocore", "boto3", "pandaprobe-otel[all]")
NEED_EVERY_CLIENT: Final = ("tests/docs", "tests/integrations", "tests/demo/test_scripted_protocols.py")


def floors(requirements: Sequence[str]) -> list[str]:
    """Return the requirements pinned to their oldest versions. Raises ValueError for one without an oldest version."""
    pinned: set[str] = set()
    for requirement in requirements:
        oldest = re.match(r"([A-Za-z0-9_.-]+)>=([^,;]+)", requirement)
        if oldest is None:
            raise ValueError(f"{requirement!r} in pyproject.toml must name its oldest version first")
        pinned.add(f"{oldest[1]}=={oldest[2]}")
    return sorted(pinned)


def packages(wheel: Path, dependencies: str) -> tuple[list[str], list[str]]:
    """Return the packages to install, and their constraints."""
    if dependencies != "floor":
        named = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        return [f"{wheel}[dev]"], named if dependencies == "named" else []
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]
    tools = [each for each in extras["dev"] if not each.startswith(OF_OTHER_CLIENTS)]
    optional = (each for extra in LIBRARY_EXTRAS for each in extras[extra])
    own = [*project["dependencies"], *(each for each in optional if not each.startswith(f"{project['name']}["))]
    return [f"{wheel}[{','.join((*LIBRARY_EXTRAS, *CLIENT_EXTRAS))}]", *tools], floors(own)


def install(python: str, home: Path, installed: Sequence[str], constraints: Sequence[str]) -> Path:
    """Make the environment, and return its Python. Raises CalledProcessError."""
    uv = [sys.executable, "-m", "uv"]
    interpreter = home / "bin" / "python"
    subprocess.run([*uv, "venv", "--quiet", "--python", python, str(home)], check=True)
    limits = home / "constraints.txt"
    limits.write_text("\n".join(constraints), encoding="utf-8")
    command = [*uv, "pip", "install", "--quiet", "--python", str(interpreter), "--constraints", str(limits)]
    subprocess.run([*command, *installed], check=True)
    return interpreter


def copy_without_sources(target: Path) -> None:
    """Copy the files in version control, except those in the wheel."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if not name.startswith(tuple(f"{source}/" for source in SOURCES)) and (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def run_tests(python: Path, tree: Path, dependencies: str, options: Sequence[str]) -> int:
    """Run the suite in `tree`, and return pytest's exit code."""
    old = ["-W", "ignore", *(f"--ignore={path}" for path in NEED_EVERY_CLIENT)]
    command = [str(python), "-m", "pytest", *(old if dependencies == "floor" else []), *options]
    return subprocess.run(command, cwd=tree, check=False).returncode


def main() -> int:
    """Parse the command line and run."""
    given, options = sys.argv[1:], []
    if "--" in given:
        at = given.index("--")
        given, options = given[:at], given[at + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--python", default=sys.executable, help="version or path; default: this one")
    parser.add_argument("--dependencies", choices=("latest", "named", "floor"), default="latest")
    chosen = parser.parse_args(given)
    # A shell starts background processes with Ctrl-C ignored, which their children would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="pandaprobe-otel-wheel.") as work:
        tree = Path(work) / "project"
        installed, constraints = packages(chosen.wheel.resolve(strict=True), chosen.dependencies)
        python = install(chosen.python, Path(work) / "environment", installed, constraints)
        copy_without_sources(tree)
        return run_tests(python, tree, chosen.dependencies, options)


if __name__ == "__main__":
    sys.exit(main())
