"""Running the examples as their readers do, without a key."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pandaprobe_otel.local import LocalServer

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
_SETTINGS = ("PANDAPROBE_", "OTEL_", "OPENAI_", "ANTHROPIC_", "LANGSMITH_", "LANGCHAIN_")


def run_example(name: str, server: LocalServer | None = None, timeout_s: float = 90.0) -> str:
    """What the example prints, run in a process of its own with a scripted model.

    Its traces go to `server`, or to the PandaProbe that the example starts itself. Failure is an AssertionError.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith(_SETTINGS)}
    if server is not None:
        environment |= {
            "PANDAPROBE_ENDPOINT": server.url,
            "PANDAPROBE_API_KEY": server.api_key,
            "PANDAPROBE_PROJECT_NAME": "frameworks",
        }
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=timeout_s,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout if server is not None else done.stdout + done.stderr
