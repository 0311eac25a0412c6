"""Evaluation in a process whose app has traced and then shut down."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import pandaprobe_otel
from pandaprobe_otel.evals import evaluate
from pandaprobe_otel.registry import instrumented, uninstrument

pandaprobe_otel.init(local="traces.jsonl", instrument=["openai"])
pandaprobe_otel.shutdown()
uninstrument("openai")

def task(question):
    return "openai" in {result.name for result in instrumented()}

print(evaluate(["?"], task).cases[0].output)
"""


def test_libraries_are_instrumented_again(tmp_path: Path) -> None:
    """After `shutdown()`, evaluation instruments the libraries again to record model calls."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert done.stdout.strip() == "True", done.stderr
