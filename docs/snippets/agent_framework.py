import asyncio

from agent_framework import Agent
from agent_framework.openai import OpenAIChatClient

import pandaprobe_otel

pandaprobe_otel.init()


def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return f"{parcel} arrives on Tuesday"


agent = Agent(OpenAIChatClient(model="gpt-5-mini"), name="shop_assistant", tools=[track_parcel])
answer = asyncio.run(agent.run("Where is my parcel P-4711?"))
print(answer.text)
