import asyncio

from google.adk.agents import Agent
from google.adk.runners import InMemoryRunner

import pandaprobe_otel

pandaprobe_otel.init()


def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return f"{parcel} arrives on Tuesday"


agent = Agent(name="shop_assistant", model="gemini-2.5-flash", tools=[track_parcel])
runner = InMemoryRunner(agent=agent)
asyncio.run(runner.run_debug("Where is my parcel P-4711?"))  # prints the answer
