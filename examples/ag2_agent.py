"""An agent of AG2 with a tool, traced by one line: two turns of one conversation.

pip install "pandaprobe-otel[local,cli]" "ag2[openai]"
python ag2_agent.py                   # a scripted model and a local PandaProbe: no key, no cost
OPENAI_API_KEY=... PANDAPROBE_API_KEY=... python ag2_agent.py
"""

import asyncio
import os
from collections.abc import Sequence

from ag2 import Agent
from ag2.config import OpenAIConfig

import pandaprobe_otel
from pandaprobe_otel.demo.completions import Message, Reply, ToolCall
from pandaprobe_otel.demo.offline import offline

PARCELS = {"P-4711": "on its way, arrives on Tuesday before noon"}


async def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return PARCELS.get(parcel, "unknown to the carrier")


async def talk() -> None:
    assistant = Agent(
        "shop_assistant",
        prompt="You answer customers of a shop in one sentence.",
        config=OpenAIConfig(model=os.environ.get("OPENAI_MODEL", "gpt-5-mini")),
        tools=[track_parcel],
    )
    told = await assistant.ask("Where is my parcel P-4711?")
    print(told.body)
    thanked = await told.ask("Thank you!")  # goes on with the conversation, which is the session of both traces
    print(thanked.body)


def main() -> None:
    pandaprobe_otel.init()  # the one line: from here on, agents, model calls and tools are traced
    asyncio.run(talk())


def script(messages: Sequence[Message]) -> Reply:
    """What the model says when there is no key."""
    last = messages[-1]
    if last["role"] == "tool":
        return Reply(text="Your parcel is on its way.")
    if "parcel" in str(last["content"]):
        return Reply(tool_calls=(ToolCall(name="track_parcel", arguments={"parcel": "P-4711"}),))
    return Reply(text="You are welcome.")


if __name__ == "__main__":
    with offline(script):
        main()
