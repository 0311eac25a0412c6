"""Cost of `evaluate()` compared with pydantic-evals: the same cases, task and scorers, each in its own process.

    pip install pydantic-evals
    python benchmarks/evals/bench_evaluate.py [--repeats 7] [--cases 200]

The task waits twice for 5 ms, for a scripted model and a tool. Our side records a trace of each case with model and
tool spans, and makes the report's table. pydantic-evals has no tracing configured, and prints its own table. Runs
alternate, and the figures are medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

_TASK = """
import asyncio, sys

async def model(question):
    await asyncio.sleep(0.005)
    return "look up " + question

async def look_up(question):
    await asyncio.sleep(0.005)
    return question.upper()

async def task(question):
    await model(question)
    return await look_up(question)

cases = [f"question {number}" for number in range(int(sys.argv[1]))]
"""
_OURS = """
from pandaprobe_otel import agent, llm, tool
from pandaprobe_otel.evals import evaluate

model, look_up, task = llm(model), tool(look_up), agent(task)

def is_right(run):
    return run.output == run.case.input.upper()

def is_short(run):
    return len(run.output) < 100

report = evaluate(cases, task, [is_right, is_short], concurrency=20)
print(report)
assert report.passed
"""
_THEIRS = """
from dataclasses import dataclass
from pydantic_evals import Case, Dataset
from pydantic_evals.evaluators import Evaluator, EvaluatorContext

@dataclass
class IsRight(Evaluator):
    def evaluate(self, ctx: EvaluatorContext) -> bool:
        return ctx.output == ctx.inputs.upper()

@dataclass
class IsShort(Evaluator):
    def evaluate(self, ctx: EvaluatorContext) -> bool:
        return len(ctx.output) < 100

named = [Case(name=case, inputs=case) for case in cases]
dataset = Dataset(name="shop", cases=named, evaluators=[IsRight(), IsShort()])
report = dataset.evaluate_sync(task, max_concurrency=20, progress=False)
report.print(include_input=True, include_output=True)
assert report.averages().assertions == 1.0
"""


def spent(program: str, cases: int) -> tuple[float, float]:
    """Return the wall time and CPU time of a process, in seconds."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PANDAPROBE_", "OTEL_"))}
    before, begun = os.times(), time.perf_counter()
    with tempfile.TemporaryFile() as output:
        command = [sys.executable, "-c", _TASK + program, str(cases)]
        subprocess.run(command, env=clean, stdout=output, stderr=output, check=True)
    wall, after = time.perf_counter() - begun, os.times()
    return wall, after.children_user - before.children_user + after.children_system - before.children_system


def main() -> None:
    """Measure both, alternating."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--cases", type=int, default=200)
    chosen = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {"pandaprobe-otel": [], "pydantic-evals": []}
    for _ in range(chosen.repeats):
        for name, program in zip(found, (_OURS, _THEIRS), strict=True):
            found[name].append(spent(program, chosen.cases))
    for name, runs in found.items():
        wall, cpu = (statistics.median(times) for times in zip(*runs, strict=True))
        print(f"{name:16} {wall:6.2f} s wall, {cpu:6.2f} s CPU")


if __name__ == "__main__":
    main()
