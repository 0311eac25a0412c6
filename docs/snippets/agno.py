from agno.agent import Agent
from agno.models.openai import OpenAIChat

import pandaprobe_otel

pandaprobe_otel.init()


def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return f"{parcel} arrives on Tuesday"


agent = Agent(name="shop_assistant", model=OpenAIChat(id="gpt-5-mini"), tools=[track_parcel])
print(agent.run("Where is my parcel P-4711?").content)
