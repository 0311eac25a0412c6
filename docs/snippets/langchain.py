from langchain.agents import create_agent

import pandaprobe_otel

pandaprobe_otel.init()


def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return f"{parcel} arrives on Tuesday"


agent = create_agent("openai:gpt-5-mini", tools=[track_parcel], name="shop_assistant")
answer = agent.invoke({"messages": [{"role": "user", "content": "Where is my parcel P-4711?"}]})
print(answer["messages"][-1].text)
