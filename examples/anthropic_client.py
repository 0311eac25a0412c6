"""Calls of the `anthropic` client, traced by one line: a tool that the model asks for, and an answer as a stream.

pip install "pandaprobe-otel[anthropic,local]"
python anthropic_client.py                # a scripted model and a local PandaProbe: no key, no cost
ANTHROPIC_API_KEY=... PANDAPROBE_API_KEY=... python anthropic_client.py
"""

import os
from collections.abc import Sequence
from typing import Any

from anthropic import Anthropic

import pandaprobe_otel
from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripted_endpoint import Message, Reply, ToolCall

MODEL = os.environ.get("ANTHROPIC_MODEL", "claude-haiku-5-5")
TOOLS: Any = [
    {
        "name": "track_parcel",
        "description": "Ask the carrier where a parcel is.",
        "input_schema": {"type": "object", "properties": {"parcel": {"type": "string"}}, "required": ["parcel"]},
    }
]


@pandaprobe_otel.tool
def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return "on its way, arrives on Tuesday before noon"


@pandaprobe_otel.agent(name="shop_assistant")
def answer(question: str) -> str:
    """Let the model ask for the tool, then stream its answer."""
    client = Anthropic()
    messages: list[Any] = [{"role": "user", "content": question}]
    first = client.messages.create(model=MODEL, max_tokens=500, messages=messages, tools=TOOLS)
    messages.append({"role": "assistant", "content": first.content})
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": track_parcel(str(block.input["parcel"]))}
        for block in first.content
        if block.type == "tool_use"
    ]
    messages.append({"role": "user", "content": results})
    with client.messages.stream(model=MODEL, max_tokens=500, messages=messages, tools=TOOLS) as stream:
        return "".join(stream.text_stream)


def main() -> None:
    pandaprobe_otel.init()  # the one line: from here on, every call of the client is traced
    with pandaprobe_otel.session("conversation-1"):
        print(answer("Where is my parcel P-4711?"))


def script(messages: Sequence[Message]) -> Reply:
    """Return the model's reply when no key is set."""
    if messages[-1]["role"] == "tool":
        return Reply(text=f"Your parcel is {messages[-1]['content']}.")
    return Reply(tool_calls=(ToolCall(name="track_parcel", arguments={"parcel": "P-4711"}),))


if __name__ == "__main__":
    with offline(script, model_key="ANTHROPIC_API_KEY"):
        main()
