"""An agent of the Claude Agent SDK with a tool of the app, traced by one line: two turns of one session.

pip install "pandaprobe-otel[claude_agent_sdk,local]"
python claude_agent_sdk_agent.py              # a scripted model and a local PandaProbe: no key, no cost
ANTHROPIC_API_KEY=... PANDAPROBE_API_KEY=... python claude_agent_sdk_agent.py
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from claude_agent_sdk import (
    AssistantMessage,
    ClaudeAgentOptions,
    ClaudeSDKClient,
    TextBlock,
    create_sdk_mcp_server,
    tool,
)

import pandaprobe_otel
from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripted_endpoint import Message, Reply, ToolCall, text_of

PARCELS = {"P-4711": "on its way, arrives on Tuesday before noon"}


@tool("track_parcel", "Ask the carrier where a parcel is", {"parcel": str})
async def track_parcel(arguments: dict[str, Any]) -> dict[str, Any]:
    found = PARCELS.get(arguments["parcel"], "unknown to the carrier")
    return {"content": [{"type": "text", "text": found}]}


async def talk() -> None:
    options = ClaudeAgentOptions(
        system_prompt="You answer customers of a shop in one sentence.",
        mcp_servers={"shop": create_sdk_mcp_server("shop", tools=[track_parcel])},
        allowed_tools=["mcp__shop__track_parcel"],
        tools=[],  # without Claude Code's own tools
        setting_sources=[],
        include_partial_messages=True,  # optional: the tokens of each model call, not only their sum
    )
    async with ClaudeSDKClient(options) as client:
        for asked in ("Where is my parcel P-4711?", "Thank you!"):
            await client.query(asked)
            async for message in client.receive_response():
                if isinstance(message, AssistantMessage):
                    print(*(block.text for block in message.content if isinstance(block, TextBlock)), sep="", end="")
            print()


def main() -> None:
    pandaprobe_otel.init()  # the one line: from here on, runs, model calls, tools and sub-agents are traced
    asyncio.run(talk())


def script(messages: Sequence[Message]) -> Reply:
    """Return the model's reply when no key is set."""
    last = [message for message in messages if message["role"] != "system"][-1]  # Claude Code adds its own notes
    said = text_of(last["content"])
    if last["role"] == "tool":
        return Reply(text=f"Your parcel is {said.splitlines()[0]}.")
    if "parcel P-4711" in said:
        return Reply(tool_calls=(ToolCall(name="mcp__shop__track_parcel", arguments={"parcel": "P-4711"}),))
    return Reply(text="You are welcome.")


if __name__ == "__main__":
    with offline(script, model_key="ANTHROPIC_API_KEY"):
        main()
