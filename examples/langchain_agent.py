"""An agent of LangChain with a tool, traced by one line: two turns of a conversation, the second one streamed.

pip install "pandaprobe-otel[langchain,local]"
python langchain_agent.py                 # a scripted model and a local PandaProbe: no key, no cost
OPENAI_API_KEY=... PANDAPROBE_API_KEY=... python langchain_agent.py
"""

import os

from langchain.agents import create_agent
from langchain.chat_models import init_chat_model
from langchain_core.messages import AIMessageChunk
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

import pandaprobe_otel
from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripts import parcel_script

PARCELS = {"P-4711": "on its way, arrives on Tuesday before noon"}


@tool
def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return PARCELS.get(parcel, "unknown to the carrier")


def main() -> None:
    pandaprobe_otel.init()  # the one line: from here on, agents, steps, model calls and tools are traced

    # OpenAI counts a stream's tokens only on request. By default, LangChain requests this only at OpenAI's address.
    model = init_chat_model(f"openai:{os.environ.get('OPENAI_MODEL', 'gpt-5-mini')}", stream_usage=True)
    agent = create_agent(
        model,
        tools=[track_parcel],
        system_prompt="You answer customers of a shop in one sentence.",
        checkpointer=InMemorySaver(),
        name="shop_assistant",
    )
    config = {"configurable": {"thread_id": "conversation-1"}}  # the session of both traces

    asked = {"messages": [{"role": "user", "content": "Where is my parcel P-4711?"}]}
    print(agent.invoke(asked, config)["messages"][-1].text)

    asked = {"messages": [{"role": "user", "content": "Thank you!"}]}
    for piece, _ in agent.stream(asked, config, stream_mode="messages"):
        if isinstance(piece, AIMessageChunk):
            print(piece.text, end="", flush=True)
    print()


script = parcel_script()  # the model's replies when no key is set

if __name__ == "__main__":
    with offline(script):
        main()
