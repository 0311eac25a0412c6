"""A run of `examples/quickstart.py` as a user would start it: a separate process with environment variables only."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TIMEOUT_S: Final = 120.0
"""Timeout. A run takes about two seconds, so a run that exceeds this hangs and is reported as a fault."""

_NO_PROXY: Final = "127.0.0.1,localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickstartRun:
    """A finished run. `session_id` is None if the program did not print it."""

    exit_code: int
    session_id: str | None


def quickstart_path() -> Path:
    """Return the path of the example: beside this module in the wheel, in `examples/` in a checkout."""
    packaged = Path(__file__).with_name("quickstart.py")
    return packaged if packaged.exists() else Path(__file__).parents[2] / "examples" / "quickstart.py"


def quickstart_environment(
    current: Mapping[str, str], *, model_url: str, pandaprobe: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables of the run: those of the scripted model, and `pandaprobe` in place of all PandaProbe
    settings.

    OpenTelemetry's variables are removed too, so that the demonstration is the same on every machine.
    """
    kept = {name: value for name, value in current.items() if not name.startswith(("PANDAPROBE_", "OTEL_"))}
    proxies = {
        name: ",".join(part for part in (current.get(name, ""), _NO_PROXY) if part) for name in ("NO_PROXY", "no_proxy")
    }
    return {
        **kept,
        **proxies,
        "OPENAI_BASE_URL": model_url,
        "OPENAI_API_KEY": "sk-scripted",
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        **pandaprobe,
    }


def run_quickstart(environment: Mapping[str, str], *, show: Callable[[str], object]) -> QuickstartRun:
    """Run the example until it has ended and delivered its traces. `show` gets its output piece by piece.

    Its standard error is that of this process. A run that takes longer than two minutes is killed (exit code -9).
    """
    with subprocess.Popen(
        [sys.executable, str(quickstart_path())],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    ) as process:
        watchdog = threading.Timer(_TIMEOUT_S, process.kill)
        watchdog.start()
        try:
            output = _relay(process, show)
        finally:
            watchdog.cancel()
    found = re.search(r"^Session:\s+(\S+)", output, re.MULTILINE)
    return QuickstartRun(exit_code=process.returncode, session_id=found[1] if found else None)


def _relay(process: subprocess.Popen[str], show: Callable[[str], object]) -> str:
    output: list[str] = []
    assert process.stdout is not None
    while piece := process.stdout.read(1):  # character by character, so that streaming is visible
        show(piece)
        output.append(piece)
    return "".join(output)


def reach_loopback_directly() -> None:
    """Exclude this process's requests to loopback addresses from a proxy in the environment."""
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(part for part in (os.environ.get(name, ""), _NO_PROXY) if part)
