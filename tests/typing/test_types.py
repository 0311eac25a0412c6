"""Exact types of the clients and of decorated functions in another project, for both type checkers in strict mode."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("public_types.py")


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["mypy", "--strict", "--warn-unused-ignores", "--cache-dir", "cache", "."], id="mypy"),
        pytest.param(["pyright", "--pythonpath", sys.executable], id="pyright"),
    ],
)
def test_public_names_have_their_exact_types(command: list[str], tmp_path: Path) -> None:
    """Every `assert_type` of the cases holds, and the checkers refuse every wrong call."""
    shutil.copy(CASES, tmp_path)
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}', encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
