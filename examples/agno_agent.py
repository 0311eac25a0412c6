"""An agent of Agno with a tool, traced by one line: two turns of one session, the second one streamed.

pip install "pandaprobe-otel[local,cli]" agno openai
python agno_agent.py                          # a scripted model and a local PandaProbe: no key, no cost
OPENAI_API_KEY=... PANDAPROBE_API_KEY=... python agno_agent.py
"""

import os
from collections.abc import Sequence

from agno.agent import Agent
from agno.models.openai import OpenAIChat

import pandaprobe_otel
from pandaprobe_otel.demo.completions import Message, Reply, ToolCall
from pandaprobe_otel.demo.offline import offline

PARCELS = {"P-4711": "on its way, arrives on Tuesday before noon"}


def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return PARCELS.get(parcel, "unknown to the carrier")


def main() -> None:
    pandaprobe_otel.init()  # the one line: from here on, agents, model calls and tools are traced
    agent = Agent(
        name="shop_assistant",
        model=OpenAIChat(id=os.environ.get("OPENAI_MODEL", "gpt-5-mini")),
        instructions="You answer customers of a shop in one sentence.",
        tools=[track_parcel],
        telemetry=False,  # what Agno tells its makers, not what is traced here
    )
    session = {"session_id": "conversation-1", "user_id": "customer-1"}  # both are the traces' too
    print(agent.run("Where is my parcel P-4711?", **session).content)
    for event in agent.run("Thank you!", stream=True, **session):
        print(event.content or "", end="", flush=True)
    print()


def script(messages: Sequence[Message]) -> Reply:
    """What the model says when there is no key."""
    last = messages[-1]
    if last["role"] == "tool":
        return Reply(text="Your parcel is on its way.")
    if "parcel" in str(last["content"]):
        return Reply(tool_calls=(ToolCall(name="track_parcel", arguments={"parcel": "P-4711"}),))
    return Reply(text="You are welcome.")


if __name__ == "__main__":
    with offline(script):
        main()
