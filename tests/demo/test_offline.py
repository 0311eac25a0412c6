"""The last output lines of examples that start a PandaProbe themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from command_line import clean_environment

PROGRAM = """
import pandaprobe_otel
from pandaprobe_otel.demo.completions import Reply
from pandaprobe_otel.demo.offline import offline

with offline(lambda messages: Reply(text="")):
    pandaprobe_otel.init()
    BODY
"""


def run(body: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the body in a process of its own, with a PandaProbe that it starts."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("BODY", body)],
        env=clean_environment(home, TMPDIR=str(home), **variables),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_the_last_lines_list_every_trace(tmp_path: Path) -> None:
    """The last lines list traces by session, the oldest first, and the command that shows them."""
    body = """
    for name in ("one", None, "one", "two"):
        with pandaprobe_otel.session(name) if name else pandaprobe_otel.context(), pandaprobe_otel.agent("shop"):
            pass
"""
    done = run(body, tmp_path)
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.rglob("traces.sqlite")
    listed = "2 in session one, 1 without a session, 1 in session two"
    assert done.stdout == f"\nTraces: {listed}\nLook at them: pandaprobe-otel local --db {file}\n"


def test_a_block_that_fails_ends_with_its_error(tmp_path: Path) -> None:
    """A failing program ends with its error and without a summary, which would hide the error."""
    done = run("raise LookupError('no parcel')", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("LookupError: no parcel\n")
