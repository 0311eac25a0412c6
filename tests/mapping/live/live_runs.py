"""Run real instrumentors and clients against a scripted model, and check the traces that arrive.

    python tests/mapping/live/live_runs.py                      all of them, with a table at the end
    python tests/mapping/live/live_runs.py NAME ...             the named instrumentors
    python tests/mapping/live/live_runs.py --write              all, table written to docs/live-instrumentors.md

Instrumentors of the same library cannot all be installed together, so each group has its own virtual environment.
`uv` (of the extra `dev`) creates it below $LIVE_VENVS (default: `pandaprobe-live` in the temporary directory), and it
is kept for the next run.
A program of `programs/` then runs in the environment; of this library, it only calls `init` or adds the processor.
A run needs a package index and takes minutes, so it is not part of the test suite.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
sys.path.append(str(HERE.parents[1] / "support"))

from exchanges import WEATHER, Json
from instrumentors import ENVIRONMENTS, INSTRUMENTORS, Instrumentor
from live_check import PARTS, faults, tool_faults
from model_endpoint import ModelEndpoint

from outlines import outline
from strict_pandaprobe import StrictPandaProbe

VENVS = Path(os.environ.get("LIVE_VENVS", Path(tempfile.gettempdir()) / "pandaprobe-live"))
PAGE = ROOT / "docs" / "live-instrumentors.md"
TIMEOUT_S = 180
HEAD = """# Instrumentors that were run live

`nox -s live` (`tests/mapping/live/live_runs.py --write`) writes this page. It runs each real instrumentor with the real
client, in a separate environment, against a scripted model over HTTP. The traces go to a stand-in for PandaProbe on
loopback, through `init` or through our processor in the instrumentor's own provider. Each exchange with the model must
then be one model call with its model, messages, tool calls and tokens. The tokens must add up to the model's count, and
tools must have their arguments and results.

{good} of {all} record everything except the data in the last column. Node's instrumentors are tested with their
recordings; the Vercel AI SDK also runs against the local server."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one run: the traces and their faults."""

    traces: tuple[Json, ...]
    calls: int
    faults: tuple[str, ...]


def environment(name: str) -> Path:
    """Return the path of an environment's Python; create the environment if it does not exist."""
    home = VENVS / name
    python, done = home / "bin" / "python", home / "requirements.txt"
    wanted = "\n".join(ENVIRONMENTS[name])
    if not done.exists() or done.read_text(encoding="utf-8") != wanted:
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, home], check=True)
        install: list[str | Path] = [
            *uv,
            "pip",
            "install",
            "--quiet",
            "--python",
            python,
            "-e",
            ROOT,
            *ENVIRONMENTS[name],
        ]
        subprocess.run(install, check=True)
        done.write_text(wanted, encoding="utf-8")
    return python


def run(instrumentor: Instrumentor, python: Path, folder: Path) -> Outcome:
    """Run one instrumentor's program with this Python, in this folder, and judge the traces."""
    with ModelEndpoint() as model, StrictPandaProbe() as probe:
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),  # the user's settings must not apply
            "PANDAPROBE_ENDPOINT": probe.url,
            "PANDAPROBE_API_KEY": "sk_pp_live",
            "OPENAI_BASE_URL": f"{model.url}/v1",
            "ANTHROPIC_BASE_URL": model.url,
            "GOOGLE_GEMINI_BASE_URL": model.url,
            **dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY"), "none"),
            **instrumentor.variables,
        }
        program: list[str | Path] = [python, HERE / "programs" / f"{instrumentor.program}.py", *instrumentor.arguments]
        try:
            ran = subprocess.run(program, env=variables, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return Outcome((), 0, (f"did not end in {TIMEOUT_S} s",))
        traces = [
            {**trace.fields, "spans": sorted(trace.spans.values(), key=lambda span: span["started_at"])}
            for trace in probe.traces.values()
        ]
        traces.sort(key=lambda trace: trace["started_at"])
        if ran.returncode:
            return Outcome(tuple(traces), len(model.exchanges), (f"the program failed: {ran.stderr[-600:]}",))
        exchanges = [*model.exchanges, *instrumentor.told]
        found = faults(traces, exchanges, instrumentor.without)
        if any("t" in exchange.roles for exchange in exchanges) and instrumentor.runs_tools:
            found += tool_faults(traces, instrumentor.without, WEATHER)
        if not traces:
            found.append("no trace arrived")
        if "pandaprobe_otel/" in ran.stderr:
            found.append(f"an exception was printed: {ran.stderr[-600:]}")
        return Outcome(tuple(traces), len(exchanges), tuple(found))


def table(outcomes: dict[str, Outcome]) -> str:
    """Return the page: the tested instrumentors, their versions, and the parts that each does not record."""
    good = sum(not outcome.faults for outcome in outcomes.values())
    lines = [HEAD.format(good=good, all=len(outcomes)), ""]
    lines.append("| instrumentor | versions | model calls | traces | left out by the instrumentor |")
    lines.append("|---|---|---:|---:|---|")
    for name, outcome in outcomes.items():
        instrumentor = INSTRUMENTORS[name]
        versions = ", ".join(f"{requirement}" for requirement in ENVIRONMENTS[instrumentor.environment])
        left_out = "; ".join(PARTS[part] for part in sorted(instrumentor.without)) or ""
        result = left_out if not outcome.faults else f"**failed**: {outcome.faults[0].splitlines()[0]}"
        lines.append(f"| `{name}` | {versions} | {outcome.calls} | {len(outcome.traces)} | {result} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the chosen instrumentors; return 1 as the exit code if there is any fault."""
    parser = argparse.ArgumentParser(description="Run real instrumentors and judge their traces.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="instrumentors; all when none is given")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    parser.add_argument("--outlines", action="store_true", help="print the traces as outlines")
    arguments = parser.parse_args()
    outcomes: dict[str, Outcome] = {}
    for name in arguments.names or INSTRUMENTORS:
        instrumentor = INSTRUMENTORS[name]
        outcome = outcomes[name] = run(instrumentor, environment(instrumentor.environment), VENVS)
        print(f"{'FAILED' if outcome.faults else 'ok    '} {name}: {outcome.calls} calls, {len(outcome.traces)} traces")
        for fault in outcome.faults:
            print(f"       {fault}")
        if arguments.outlines:
            print(outline([dict[str, Any](trace) for trace in outcome.traces]))
    print(f"{sum(not outcome.faults for outcome in outcomes.values())} of {len(outcomes)}")
    if arguments.write:
        PAGE.write_text(table(outcomes), encoding="utf-8")
    return int(any(outcome.faults for outcome in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
