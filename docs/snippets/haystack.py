from haystack.components.agents import Agent
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import tool

import pandaprobe_otel

pandaprobe_otel.init()


@tool
def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return f"{parcel} arrives on Tuesday"


agent = Agent(chat_generator=OpenAIChatGenerator(model="gpt-5-mini"), tools=[track_parcel])
answer = agent.run(messages=[ChatMessage.from_user("Where is my parcel P-4711?")])
print(answer["last_message"].text)
