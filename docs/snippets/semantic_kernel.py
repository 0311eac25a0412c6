import asyncio

from semantic_kernel.agents import ChatCompletionAgent
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion
from semantic_kernel.functions import kernel_function

import pandaprobe_otel

pandaprobe_otel.init()


class Carrier:
    @kernel_function
    def track_parcel(self, parcel: str) -> str:
        """Ask the carrier where a parcel is."""
        return f"{parcel} arrives on Tuesday"


async def main() -> None:
    service = OpenAIChatCompletion(ai_model_id="gpt-5-mini")
    agent = ChatCompletionAgent(name="shop_assistant", service=service, plugins=[Carrier()])
    print(await agent.get_response("Where is my parcel P-4711?"))


asyncio.run(main())
