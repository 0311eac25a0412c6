"""An agent of Strands Agents with a tool, traced by one line: two turns of one conversation, the second one streamed.

pip install "pandaprobe-otel[strands,local]"
python strands_agent.py                       # a scripted model and a local PandaProbe: no key, no cost
OPENAI_API_KEY=... PANDAPROBE_API_KEY=... python strands_agent.py
"""

import asyncio
import os

from strands import Agent, tool
from strands.models.openai import OpenAIModel

import pandaprobe_otel
from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripts import parcel_script

PARCELS = {"P-4711": "on its way, arrives on Tuesday before noon"}


@tool
def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return PARCELS.get(parcel, "unknown to the carrier")


async def talk() -> None:
    agent = Agent(  # one agent has one conversation, which is the session of both traces
        name="shop_assistant",
        model=OpenAIModel(model_id=os.environ.get("OPENAI_MODEL", "gpt-5-mini")),
        system_prompt="You answer customers of a shop in one sentence.",
        tools=[track_parcel],
        callback_handler=None,
    )
    print(str(await agent.invoke_async("Where is my parcel P-4711?")).strip())

    async for event in agent.stream_async("Thank you!"):
        print(event.get("data", ""), end="", flush=True)
    print()


def main() -> None:
    pandaprobe_otel.init()  # the one line: from here on, agents, model calls and tools are traced
    asyncio.run(talk())


script = parcel_script()  # the model's replies when no key is set

if __name__ == "__main__":
    with offline(script):
        main()
