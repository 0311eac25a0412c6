from pydantic_ai import Agent

import pandaprobe_otel

pandaprobe_otel.init()

agent = Agent("openai:gpt-5-mini", name="shop_assistant")


@agent.tool_plain
def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return f"{parcel} arrives on Tuesday"


print(agent.run_sync("Where is my parcel P-4711?").output)
