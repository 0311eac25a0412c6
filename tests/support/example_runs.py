"""Runs of the examples: as their readers run them, without a key, or much faster in this process."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pandaprobe_otel.demo.scripted_endpoint import Script, ScriptedEndpoint
from pandaprobe_otel.local import LocalServer

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
_SETTINGS = ("PANDAPROBE_", "OTEL_", "OPENAI_", "ANTHROPIC_", "GOOGLE_", "GEMINI_", "LANGSMITH_", "LANGCHAIN_")


class Example:
    """An example as a module: its `main`, and the `script` of its model without a key."""

    def __init__(self, name: str) -> None:
        self._names: dict[str, Any] = runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name=name)
        self.script: Script = self._names["script"]

    def run(self, endpoint: ScriptedEndpoint, variables: pytest.MonkeyPatch) -> None:
        """Run it in this process, with the model at `endpoint`; `init()` is this process's."""
        for vendor, url in (("OPENAI", endpoint.base_url), ("ANTHROPIC", endpoint.url)):
            variables.setenv(f"{vendor}_API_KEY", "scripted")
            variables.setenv(f"{vendor}_BASE_URL", url)
        variables.setenv("GOOGLE_API_KEY", "scripted")
        variables.setenv("GOOGLE_GEMINI_BASE_URL", endpoint.url)
        self._names["main"]()


def run_example(name: str, server: LocalServer | None = None, timeout_s: float = 90.0) -> str:
    """Run the example in a process of its own with a scripted model, and return its output.

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
