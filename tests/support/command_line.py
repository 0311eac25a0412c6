"""The command line, used as its user does: the installed command, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

COMMAND = str(Path(sys.executable).with_name("pandaprobe-otel"))


def clean_environment(home: Path, **variables: str) -> dict[str, str]:
    """This process's environment without settings of PandaProbe and OpenTelemetry, with another home directory."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PANDAPROBE_", "OTEL_"))}
    return {**kept, "HOME": str(home), "USERPROFILE": str(home), "NO_PROXY": "127.0.0.1,localhost", **variables}


def run_command_line(
    *arguments: str, environment: Mapping[str, str], timeout_s: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run `pandaprobe-otel` to its end and return what it wrote."""
    return subprocess.run(
        [COMMAND, *arguments],
        env=dict(environment),
        capture_output=True,
        encoding="utf-8",
        timeout=timeout_s,
        check=False,
        stdin=subprocess.DEVNULL,
    )
