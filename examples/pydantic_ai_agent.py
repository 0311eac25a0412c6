"""An agent of Pydantic AI with a tool, traced by one line: two turns, the second one streamed.

pip install "pandaprobe-otel[pydantic_ai,local]"
python pydantic_ai_agent.py                   # a scripted model and a local PandaProbe: no key, no cost
OPENAI_API_KEY=... PANDAPROBE_API_KEY=... python pydantic_ai_agent.py
"""

import asyncio
import os

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel

import pandaprobe_otel
from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripts import parcel_script

PARCELS = {"P-4711": "on its way, arrives on Tuesday before noon"}


def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return PARCELS.get(parcel, "unknown to the carrier")


async def talk() -> None:
    agent = Agent(
        OpenAIChatModel(os.environ.get("OPENAI_MODEL", "gpt-5-mini")),
        name="shop_assistant",
        instructions="You answer customers of a shop in one sentence.",
        tools=[track_parcel],
    )
    # The session of both traces: without an id, Pydantic AI makes one for each conversation.
    answered = await agent.run("Where is my parcel P-4711?", conversation_id="conversation-1")
    print(answered.output)

    async with agent.run_stream("Thank you!", message_history=answered.all_messages()) as streaming:
        async for piece in streaming.stream_text(delta=True):
            print(piece, end="", flush=True)
    print()


def main() -> None:
    pandaprobe_otel.init()  # the one line: from here on, agents, model calls and tools are traced
    asyncio.run(talk())


script = parcel_script()  # the model's replies when no key is set

if __name__ == "__main__":
    with offline(script):
        main()
