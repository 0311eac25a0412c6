"""LlamaIndex, traced by one line: an agent with a tool, and a streamed answer from documents.

pip install "pandaprobe-otel[llama_index,local]"
python llama_index_agent.py                   # a scripted model and a local PandaProbe: no key, no cost
OPENAI_API_KEY=... PANDAPROBE_API_KEY=... python llama_index_agent.py
"""

import asyncio
import os
from collections.abc import Sequence

from llama_index.core import Document, MockEmbedding, VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.llms.openai import OpenAI

import pandaprobe_otel
from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripted_endpoint import Message, Reply, ToolCall, text_of

PARCELS = {"P-4711": "on its way, arrives on Tuesday before noon"}
RULES = [Document(text="Parcels are kept for ten days."), Document(text="Returns are free.")]


def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return PARCELS.get(parcel, "unknown to the carrier")


async def talk() -> None:
    model = OpenAI(model=os.environ.get("OPENAI_MODEL", "gpt-5-mini"), api_base=os.environ.get("OPENAI_BASE_URL"))
    agent = FunctionAgent(name="shop_assistant", tools=[track_parcel], llm=model)
    index = VectorStoreIndex.from_documents(RULES, embed_model=MockEmbedding(8))  # use a real one
    with pandaprobe_otel.session("conversation-1"):
        print(await agent.run("Where is my parcel P-4711?"))

        answer = await index.as_query_engine(llm=model, streaming=True).aquery("How long do you keep a parcel?")
        async for piece in answer.async_response_gen():  # the spans end when the stream is read
            print(piece, end="", flush=True)
    print()


def main() -> None:
    pandaprobe_otel.init()  # the one line: from here on, agents, queries, model calls and tools are traced
    asyncio.run(talk())


def script(messages: Sequence[Message]) -> Reply:
    """Return the model's reply when no key is set."""
    last = messages[-1]
    if last["role"] == "tool":
        return Reply(text=f"Your parcel is {last['content']}.")
    if "P-4711" in text_of(last["content"]):
        return Reply(tool_calls=(ToolCall(name="track_parcel", arguments={"parcel": "P-4711"}),))
    return Reply(text="Parcels are kept for ten days.")


if __name__ == "__main__":
    with offline(script):
        main()
