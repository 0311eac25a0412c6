"""An agent of smolagents with a tool, traced by one line: two turns of one session, the second streamed.

pip install "pandaprobe-otel[smolagents,local]"
python smolagents_agent.py                    # a scripted model and a local PandaProbe: no key, no cost
OPENAI_API_KEY=... PANDAPROBE_API_KEY=... python smolagents_agent.py
"""

import os
from collections.abc import Sequence

from smolagents import FinalAnswerStep, OpenAIModel, ToolCallingAgent, tool

import pandaprobe_otel
from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripted_endpoint import Message, Reply, ToolCall, text_of

PARCELS = {"P-4711": "on its way, arrives on Tuesday before noon"}


@tool
def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is.

    Args:
        parcel: The number of the parcel.
    """
    return PARCELS.get(parcel, "unknown to the carrier")


def main() -> None:
    pandaprobe_otel.init()  # the one line: from here on, agents, model calls and tools are traced
    model = OpenAIModel(
        os.environ.get("OPENAI_MODEL", "gpt-5-mini"),
        api_base=os.environ.get("OPENAI_BASE_URL"),
        api_key=os.environ["OPENAI_API_KEY"],
    )
    agent = ToolCallingAgent([track_parcel], model, name="shop_assistant", verbosity_level=0)
    with pandaprobe_otel.session("conversation-1"):
        print(agent.run("Where is my parcel P-4711?"))
        for step in agent.run("Thank you!", reset=False, stream=True):
            if isinstance(step, FinalAnswerStep):
                print(step.output)


def script(messages: Sequence[Message]) -> Reply:
    """Return the model's reply when no key is set."""
    said = [text_of(message["content"]) for message in messages]
    if any("Thank you!" in text for text in said):
        return Reply(tool_calls=(ToolCall(name="final_answer", arguments={"answer": "You are welcome."}),))
    if "on its way" in said[-1]:
        answer = {"answer": f"Your parcel is {PARCELS['P-4711']}."}
        return Reply(tool_calls=(ToolCall(name="final_answer", arguments=answer),))
    return Reply(tool_calls=(ToolCall(name="track_parcel", arguments={"parcel": "P-4711"}),))


if __name__ == "__main__":
    with offline(script):
        main()
