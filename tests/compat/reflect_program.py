"""A program with an agent under the official SDK's Reflect, traced by this library, which prints the results."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import openai
from opentelemetry import trace
from pandaprobe.reflect import Outcome, Reflect, ReflectConfig, ReplayCase

import pandaprobe_otel
from pandaprobe_otel.compat.reflect import reflect_client

RULE = "# Parcels\\nApplies to: questions about parcels\\nName the day of arrival.\\n"
CASES = [ReplayCase("late", "My parcel?"), ReplayCase("lost", "Parcel lost?"), ReplayCase("thanks", "Thanks!", True)]

pandaprobe_otel.init()
CONFIG = ReflectConfig(
    workspace=Path(sys.argv[1]), thresholds={"task_completion": 0.95}, diagnostic_metrics=(), poll_interval=0.1,
    trace_visibility_timeout=20.0,
)  # fmt: skip


@pandaprobe_otel.agent
def answer(question: str, rules: str) -> str:
    """Ask the model, with the rules that Reflect keeps, in a session that the app chooses."""
    messages: list[Any] = [{"role": "system", "content": rules}, {"role": "user", "content": question}]
    with pandaprobe_otel.session("the app's own"):
        output = openai.OpenAI().chat.completions.create(model="m", messages=messages)
    return output.choices[0].message.content or ""


async def support(task: Any) -> str:
    """Answer, or write a rule in the phase of reflection; the span that calls no model makes no trace."""
    with trace.get_tracer("app").start_as_current_span("read a file"):
        rules = await reflect.bash("cat /rules/*.md")
    if task.phase == "reflection":
        await reflect.bash(f"printf '{RULE}' > /rules/parcels.md")
        return answer("What did you learn?", rules)
    return answer(task.input, rules)


async def replay(request: Any) -> Outcome:
    """Run a case, and score its answer."""
    output = await request.run(support)
    good = "Friday" in output or request.case.id == "thanks"
    return Outcome(scores={"task_completion": float(good)}, success=good)


reflect = Reflect(reflect_client(), config=CONFIG, replay=replay, cases=CASES)


async def main() -> None:
    """Run the agent once, and wait for the proposal's validation."""
    output = await reflect.run(support, "My parcel?", session_id="chat-1", execution_id="run-1")
    await reflect.settle_validation(timeout=60)
    await reflect.wait_export()
    report = reflect.report("run-1")
    await reflect.aclose()
    results = {
        "output": output,
        "traces": report.trace_ids,
        "evaluation": report.evaluation.status if report.evaluation else None,
        "reflection": report.reflection.status if report.reflection else None,
        "decisions": [proposal.decision for proposal in reflect.proposals()],
    }
    sys.stdout.write(json.dumps(results))


asyncio.run(main())
