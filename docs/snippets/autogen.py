import asyncio

from autogen_agentchat.agents import AssistantAgent
from autogen_ext.models.openai import OpenAIChatCompletionClient

import pandaprobe_otel

pandaprobe_otel.init()


async def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return f"{parcel} arrives on Tuesday"


async def main() -> None:
    client = OpenAIChatCompletionClient(model="gpt-4.1-mini")
    agent = AssistantAgent("shop_assistant", client, tools=[track_parcel], reflect_on_tool_use=True)
    answer = await agent.run(task="Where is my parcel P-4711?")
    print(answer.messages[-1].content)
    await client.close()


asyncio.run(main())
