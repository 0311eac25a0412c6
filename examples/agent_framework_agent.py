"""An agent of Microsoft's Agent Framework, traced by one line: two turns of one session, the second one streamed.

pip install "pandaprobe-otel[agent_framework,local]"
python agent_framework_agent.py               # a scripted model and a local PandaProbe: no key, no cost
OPENAI_API_KEY=... PANDAPROBE_API_KEY=... python agent_framework_agent.py
"""

import asyncio
import os

from agent_framework import Agent
from agent_framework.openai import OpenAIChatCompletionClient

import pandaprobe_otel
from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripts import parcel_script

PARCELS = {"P-4711": "on its way, arrives on Tuesday before noon"}


def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return PARCELS.get(parcel, "unknown to the carrier")


async def talk() -> None:
    agent = Agent(
        OpenAIChatCompletionClient(model=os.environ.get("OPENAI_MODEL", "gpt-5-mini")),
        "You answer customers of a shop in one sentence.",
        name="shop_assistant",
        tools=[track_parcel],
    )
    session = agent.create_session(session_id="conversation-1")  # the session of both traces
    print((await agent.run("Where is my parcel P-4711?", session=session)).text)

    async for update in agent.run("Thank you!", session=session, stream=True):
        print(update.text, end="", flush=True)
    print()


def main() -> None:
    pandaprobe_otel.init()  # the one line: from here on, agents, model calls and tools are traced
    asyncio.run(talk())


script = parcel_script()  # the model's replies when no key is set

if __name__ == "__main__":
    with offline(script):
        main()
