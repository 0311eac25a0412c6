"""The command line, run as the installed command in a new process, or faster in the test's own process."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from waiting import PATIENCE_S

COMMAND = str(Path(sys.executable).with_name("pandaprobe-otel"))


def clean_environment(home: Path, **variables: str) -> dict[str, str]:
    """Return this process's environment with another home, without settings of PandaProbe and OpenTelemetry."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PANDAPROBE_", "OTEL_"))}
    return {**kept, "HOME": str(home), "USERPROFILE": str(home), "NO_PROXY": "127.0.0.1,localhost", **variables}


def run_command_line(
    *arguments: str, environment: Mapping[str, str], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `pandaprobe-otel` to its end and return its output."""
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=cwd,
        env=dict(environment),
        capture_output=True,
        encoding="utf-8",
        timeout=2 * PATIENCE_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def run_here(*arguments: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `pandaprobe-otel` in this process, a hundred times as fast, for tests that need no separate process."""
    from pandaprobe_otel.cli import app

    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2)]
    out, err = streams
    with patch.dict(os.environ, environment, clear=True), redirect_stdout(out), redirect_stderr(err):
        try:
            code = app.run(arguments)
        except SystemExit as end:
            code = int(end.code or 0)
    texts = (stream.buffer.getvalue().decode() for stream in streams if isinstance(stream.buffer, io.BytesIO))
    return subprocess.CompletedProcess(["pandaprobe-otel", *arguments], code, *texts)
