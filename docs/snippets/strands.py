from strands import Agent, tool
from strands.models.openai import OpenAIModel

import pandaprobe_otel

pandaprobe_otel.init()


@tool
def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return f"{parcel} arrives on Tuesday"


agent = Agent(name="shop_assistant", model=OpenAIModel(model_id="gpt-5-mini"), tools=[track_parcel])
agent("Where is my parcel P-4711?")  # prints the answer
