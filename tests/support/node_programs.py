"""JavaScript programs that send traces with packages for Node.js, if Node.js and the packages are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

FOLDER: Final = Path(__file__).resolve().parents[1] / "gateway" / "node"
_PACKAGES: Final = Path(os.environ.get("NODE_SENDERS", FOLDER)) / "node_modules"


def require_node(package: str = "@opentelemetry/api") -> None:
    """Skip the test without Node.js or a package; fail it if CI is set."""
    missing = None
    if shutil.which("node") is None:
        missing = "Node.js is not installed (Debian's package nodejs)"
    elif not (_PACKAGES / package).is_dir():
        missing = f"its package {package} is not installed (npm install --prefix tests/gateway/node)"
    if missing and os.environ.get("CI"):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)


def run_node(program: str, *arguments: str, variables: Mapping[str, str] | None = None) -> str:
    """Run a program to its end with these additional variables; return its output."""
    env = {**_environment(), **(variables or {})}
    command = ["node", str(FOLDER / program), *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def serving(program: str, *arguments: str) -> Iterator[str]:
    """Run a program that prints its port; yield its URL."""
    command = ["node", str(FOLDER / program), *arguments]
    with subprocess.Popen(command, env=_environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/"
        finally:
            process.kill()


def _environment() -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return {**clean, "NODE_PATH": str(_PACKAGES)}
