"""Programs run as a user runs them: in a process of their own, with the settings in the environment."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

from forks import Forks
from waiting import PATIENCE_S

SET_UP = """
import pandaprobe_otel
from opentelemetry import trace
handle = pandaprobe_otel.init(instrument=False)
tracer = trace.get_tracer("test")
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
def one(name):
    with tracer.start_as_current_span(name, attributes={"gen_ai.operation.name": "invoke_agent"}):
        with tracer.start_as_current_span("chat", attributes=CHAT):
            pass
"""


def environment(endpoint: str | None = None, **more: str) -> dict[str, str]:
    """Return the process's environment, without settings of PandaProbe or OpenTelemetry, plus the given ones."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PANDAPROBE_", "OTEL_"))}
    if endpoint is not None:
        clean |= {"PANDAPROBE_ENDPOINT": endpoint, "PANDAPROBE_API_KEY": "sk_pp_1", "PANDAPROBE_PROJECT_NAME": "shop"}
    return {**clean, **more}


def run_python(
    code: str, env: Mapping[str, str], *, timeout_s: float = PATIENCE_S, set_up: bool = True, fresh: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own with warnings as errors; capture its output.

    It is a fork of a process that has imported the library, except if it must be `fresh`, or has variables that count
    while modules are imported.
    """
    program = (SET_UP if set_up else "") + textwrap.dedent(code)
    if not fresh and not any(name.startswith(("OTEL_", "PYTHON")) for name in env.keys() - os.environ.keys()):
        return _forks().run(program, env, timeout_s=timeout_s)
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=dict(env),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def run_quietly(code: str, env: Mapping[str, str], **options: Any) -> str:
    """Run code that must succeed without a word on standard error, and return its output."""
    done = run_python(code, env, **options)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@cache
def _forks() -> Forks:
    rooms = ("assembly", "bootstrap", "capture", "config", "delivery", "mapping", "pipeline", "sdk", "transport")
    return Forks(*(f"pandaprobe_otel.{room}" for room in rooms), options=("-W", "error"))


def timed_exit(code: str, env: Mapping[str, str]) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run the code; also return the seconds from its last statement to the end of the process."""
    result = run_python(f"{code}\nimport time; print(time.time())", env)
    return result, time.time() - float(result.stdout)
