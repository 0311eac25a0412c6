from smolagents import OpenAIModel, ToolCallingAgent, tool

import pandaprobe_otel

pandaprobe_otel.init()


@tool
def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is.

    Args:
        parcel: The number of the parcel.
    """
    return f"{parcel} arrives on Tuesday"


agent = ToolCallingAgent([track_parcel], OpenAIModel("gpt-5-mini"), name="shop_assistant")
print(agent.run("Where is my parcel P-4711?"))
