"""An agent of AG2 with a tool, traced by one line: two turns of one conversation.

pip install "pandaprobe-otel[ag2,local]"
python ag2_agent.py                   # a scripted model and a local PandaProbe: no key, no cost
OPENAI_API_KEY=... PANDAPROBE_API_KEY=... python ag2_agent.py
"""

import asyncio
import os

from ag2 import Agent
from ag2.config import OpenAIConfig

import pandaprobe_otel
from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripts import parcel_script

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
    thanked = await told.ask("Thank you!")  # continues the conversation, which is the session of both traces
    print(thanked.body)


def main() -> None:
    pandaprobe_otel.init()  # the one line: from here on, agents, model calls and tools are traced
    asyncio.run(talk())


script = parcel_script()  # the model's replies when no key is set

if __name__ == "__main__":
    with offline(script):
        main()
