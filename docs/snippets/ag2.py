import asyncio

from ag2 import Agent
from ag2.config import OpenAIConfig

import pandaprobe_otel

pandaprobe_otel.init()


def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return f"{parcel} arrives on Tuesday"


agent = Agent("shop_assistant", config=OpenAIConfig(model="gpt-5-mini"), tools=[track_parcel])
answer = asyncio.run(agent.ask("Where is my parcel P-4711?"))
print(answer.body)
