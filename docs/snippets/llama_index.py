import asyncio

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.llms.openai import OpenAI

import pandaprobe_otel

pandaprobe_otel.init()


def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return f"{parcel} arrives on Tuesday"


async def main() -> None:
    agent = FunctionAgent(name="shop_assistant", tools=[track_parcel], llm=OpenAI(model="gpt-5-mini"))
    print(await agent.run("Where is my parcel P-4711?"))


asyncio.run(main())
