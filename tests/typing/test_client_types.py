"""A project that uses the clients sees exact types, with both type checkers in strict mode."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = str(Path(__file__).with_name("client_types.py"))


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["mypy", "--strict", "--warn-unused-ignores"], id="mypy"),
        pytest.param(["pyright", "--pythonpath", sys.executable], id="pyright"),
    ],
)
def test_every_method_has_its_exact_type(command: list[str]) -> None:
    """Every `assert_type` holds, and every wrong call in the file of cases is refused."""
    result = subprocess.run(
        [sys.executable, "-m", *command, CASES], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
