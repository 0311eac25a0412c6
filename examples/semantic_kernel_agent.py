"""An agent of Semantic Kernel with a plugin, traced by one line: two turns of one thread, the second one streamed.

pip install "pandaprobe-otel[semantic_kernel,local]"
python semantic_kernel_agent.py               # a scripted model and a local PandaProbe: no key, no cost
OPENAI_API_KEY=... PANDAPROBE_API_KEY=... python semantic_kernel_agent.py
"""

import asyncio
import os

from semantic_kernel.agents import ChatCompletionAgent
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion
from semantic_kernel.functions import kernel_function

import pandaprobe_otel
from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripts import parcel_script

PARCELS = {"P-4711": "on its way, arrives on Tuesday before noon"}


class Carrier:
    @kernel_function
    def track_parcel(self, parcel: str) -> str:
        """Ask the carrier where a parcel is."""
        return PARCELS.get(parcel, "unknown to the carrier")


async def talk() -> None:
    agent = ChatCompletionAgent(
        name="shop_assistant",
        service=OpenAIChatCompletion(ai_model_id=os.environ.get("OPENAI_MODEL", "gpt-5-mini")),
        instructions="You answer customers of a shop in one sentence.",
        plugins=[Carrier()],
    )
    answer = await agent.get_response("Where is my parcel P-4711?")
    print(answer)
    async for piece in agent.invoke_stream("Thank you!", thread=answer.thread):  # the thread is the session
        print(piece, end="", flush=True)
    print()


def main() -> None:
    pandaprobe_otel.init()  # the one line: from here on, agents, functions and model calls are traced
    asyncio.run(talk())


script = parcel_script("Carrier-track_parcel")  # the model's replies when no key is set

if __name__ == "__main__":
    with offline(script):
        main()
