"""A process that dies from kill -9 at any line and any write of the spool's code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "support" / "failpoints.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_no_moment_of_death_loses_or_doubles_anything(tmp_path: Path) -> None:
    """A process killed at any moment neither loses nor repeats a request.

    The test kills it at 24 of the about 2000 lines of adopting, inserting, removing, parking, loading and ending, and
    stops the growth of a file at 8 sizes. `python tests/support/failpoints.py FOLDER 100000 1` tries all lines.
    """
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path / "spool"), "24", "1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    result = json.loads(done.stdout)

    assert result["tried"] == 24
    assert result["lines"] > 1000
    assert result["violations"] == {}
