"""A failure becomes a test: an agent that looks up the wrong order, and a test made from its trace.

pip install "pandaprobe-otel[openai,local,cli]" pytest
python failing_agent.py                   # a scripted model and a local PandaProbe: no key, no cost
python -m pytest test_order.py            # fails, offline, and names the order that the model asked for
OPENAI_API_KEY=... PANDAPROBE_API_KEY=... python failing_agent.py
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openai import OpenAI

import pandaprobe_otel
from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripted_endpoint import Message, Reply, ToolCall

MODEL = os.environ.get("OPENAI_MODEL", "gpt-5-mini")
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "look_up_order",
        "parameters": {"type": "object", "properties": {"number": {"type": "string"}}, "required": ["number"]},
    },
}


@pandaprobe_otel.tool
def look_up_order(number: str) -> str:
    """Find an order by its number; the test does not run this."""
    return {"A-17": "on its way"}.get(number, "unknown")


@pandaprobe_otel.agent(name="shop_assistant")
def answer(question: str) -> str:
    """Answer a customer of a shop."""
    messages: list[Any] = [{"role": "user", "content": question}]
    while True:
        message = OpenAI().chat.completions.create(model=MODEL, messages=messages, tools=[TOOL]).choices[0].message
        if not message.tool_calls:
            return str(message.content)
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls:
            number = json.loads(call.function.arguments)["number"]  # type: ignore[union-attr]
            found = look_up_order(number=number.strip("A-"))  # the bug: without this `strip`, the test passes
            messages.append({"role": "tool", "tool_call_id": call.id, "content": found})


def main() -> None:
    pandaprobe_otel.init()
    print(answer("Where is my order A-17?"))
    pandaprobe_otel.flush()
    with pandaprobe_otel.Client() as client:
        trace = client.traces.list(name="shop_assistant", limit=1).items[0]
    test = Path("test_order.py")
    test.unlink(missing_ok=True)
    command = ["replay", "capture", str(trace.trace_id), "--to", str(test)]
    subprocess.run([sys.executable, "-m", "pandaprobe_otel.cli", *command], check=True)


def script(messages: Sequence[Message]) -> Reply:
    """Return the model's reply when no key is set."""
    if messages[-1]["role"] == "tool":
        return Reply(text=f"Your order is {messages[-1]['content']}.")
    return Reply(tool_calls=(ToolCall(name="look_up_order", arguments={"number": "A-17"}),))


if __name__ == "__main__":
    with offline(script):
        main()
