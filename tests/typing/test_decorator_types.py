"""Types of decorated functions, for both type checkers in strict mode."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = str(Path(__file__).with_name("decorator_types.py"))


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["mypy", "--strict", "--warn-unused-ignores"], id="mypy"),
        pytest.param(["pyright", "--pythonpath", sys.executable], id="pyright"),
    ],
)
def test_types_survive_decoration(command: list[str]) -> None:
    """Every `assert_type` of the cases holds, and the checkers refuse every wrong call."""
    result = subprocess.run(
        [sys.executable, "-m", *command, CASES], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
