"""An agent of Haystack with a tool, traced by one line: two turns of one session.

pip install "pandaprobe-otel[haystack,local]"
python haystack_agent.py              # a scripted model and a local PandaProbe: no key, no cost
OPENAI_API_KEY=... PANDAPROBE_API_KEY=... python haystack_agent.py
"""

import os
from typing import Annotated

from haystack.components.agents import Agent
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import tool

import pandaprobe_otel
from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripts import parcel_script

PARCELS = {"P-4711": "on its way, arrives on Tuesday before noon"}


@tool
def track_parcel(parcel: Annotated[str, "number of the parcel"]) -> str:
    """Ask the carrier where a parcel is."""
    return PARCELS.get(parcel, "unknown to the carrier")


def main() -> None:
    pandaprobe_otel.init()  # the one line: from here on, pipelines, agents, model calls and tools are traced
    model = os.environ.get("OPENAI_MODEL", "gpt-5-mini")
    assistant = Agent(
        chat_generator=OpenAIChatGenerator(model=model, api_base_url=os.environ.get("OPENAI_BASE_URL")),
        system_prompt="You answer customers of a shop in one sentence.",
        tools=[track_parcel],
    )
    with pandaprobe_otel.session("conversation-1"):
        for question in ("Where is my parcel P-4711?", "Thank you!"):
            print(assistant.run(messages=[ChatMessage.from_user(question)])["messages"][-1].text)


script = parcel_script()  # the model's replies when no key is set

if __name__ == "__main__":
    with offline(script):
        main()
