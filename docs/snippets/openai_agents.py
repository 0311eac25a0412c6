from agents import Agent, Runner, function_tool

import pandaprobe_otel

pandaprobe_otel.init()


@function_tool
def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return f"{parcel} arrives on Tuesday"


agent = Agent(name="shop_assistant", model="gpt-5-mini", tools=[track_parcel])
print(Runner.run_sync(agent, "Where is my parcel P-4711?").final_output)
