"""Runs of the examples without a key: each as a program, as its readers run it, or much faster in this process."""

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
    """An example as a module, with its `main` and with the `script` of the model that it uses without a key."""

    def __init__(self, name: str) -> None:
        self._names: dict[str, Any] = runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name=name)
        self.script: Script = self._names["script"]

    def run(self, endpoint: ScriptedEndpoint, variables: pytest.MonkeyPatch) -> None:
        """Run the example in this process, with the model at `endpoint`; the caller must have called `init()`."""
        for vendor, url in (("OPENAI", endpoint.base_url), ("ANTHROPIC", endpoint.url)):
            variables.setenv(f"{vendor}_API_KEY", "scripted")
            variables.setenv(f"{vendor}_BASE_URL", url)
        variables.setenv("GOOGLE_API_KEY", "scripted")
        variables.setenv("GOOGLE_GEMINI_BASE_URL", endpoint.url)
        self._names["main"]()


def run_example(name: str, server: LocalServer | None = None, timeout_s: float = 90.0) -> str:
    """Run the example in a new process with a scripted model, and return its output.

    The traces go to `server`, or to the PandaProbe that the example starts itself. Raise AssertionError if it fails.
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
