"""An agent of AutoGen with a tool, traced by one line: two turns of one session.

pip install "pandaprobe-otel[autogen,local]"
python autogen_agent.py               # a scripted model and a local PandaProbe: no key, no cost
OPENAI_API_KEY=... PANDAPROBE_API_KEY=... python autogen_agent.py
"""

import asyncio
import os

from autogen_agentchat.agents import AssistantAgent
from autogen_ext.models.openai import OpenAIChatCompletionClient

import pandaprobe_otel
from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripts import parcel_script

PARCELS = {"P-4711": "on its way, arrives on Tuesday before noon"}


async def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return PARCELS.get(parcel, "unknown to the carrier")


@pandaprobe_otel.agent(name="shop")  # one trace for the whole turn: AutoGen's runs are of one agent each
async def turn(question: str) -> str:
    client = OpenAIChatCompletionClient(model=os.environ.get("OPENAI_MODEL", "gpt-4.1-mini"))
    assistant = AssistantAgent(
        "shop_assistant",
        model_client=client,
        system_message="You answer customers of a shop in one sentence.",
        tools=[track_parcel],
        reflect_on_tool_use=True,
    )
    answered = await assistant.run(task=question)
    await client.close()
    return str(answered.messages[-1].to_text())


async def talk() -> None:
    with pandaprobe_otel.session("conversation-1"):
        for question in ("Where is my parcel P-4711?", "Thank you!"):
            print(await turn(question))


def main() -> None:
    pandaprobe_otel.init()  # the one line: from here on, AutoGen's runs, tools and model calls are traced
    asyncio.run(talk())


script = parcel_script()  # the model's replies when no key is set

if __name__ == "__main__":
    with offline(script):
        main()
