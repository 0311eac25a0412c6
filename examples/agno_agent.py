"""An agent of Agno with a tool, traced by one line: two turns of one session, the second one streamed.

pip install "pandaprobe-otel[agno,local]"
python agno_agent.py                          # a scripted model and a local PandaProbe: no key, no cost
OPENAI_API_KEY=... PANDAPROBE_API_KEY=... python agno_agent.py
"""

import os

from agno.agent import Agent
from agno.models.openai import OpenAIChat

import pandaprobe_otel
from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripts import parcel_script

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
        telemetry=False,  # turns off Agno's own telemetry; the traces here stay
    )
    session = {"session_id": "conversation-1", "user_id": "customer-1"}  # session and user of both traces
    print(agent.run("Where is my parcel P-4711?", **session).content)
    for event in agent.run("Thank you!", stream=True, **session):
        print(event.content or "", end="", flush=True)
    print()


script = parcel_script()  # the model's replies when no key is set

if __name__ == "__main__":
    with offline(script):
        main()
