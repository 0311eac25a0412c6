"""An agent of DSPy with a tool, traced by one line: two turns of one session.

pip install "pandaprobe-otel[dspy,local]"
python dspy_program.py                # a scripted model and a local PandaProbe: no key, no cost
OPENAI_API_KEY=... PANDAPROBE_API_KEY=... python dspy_program.py
"""

import os
import re
from collections.abc import Sequence

import dspy

import pandaprobe_otel
from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripted_endpoint import Message, Reply

PARCELS = {"P-4711": "on its way, arrives on Tuesday before noon"}


def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return PARCELS.get(parcel, "unknown to the carrier")


def main() -> None:
    pandaprobe_otel.init()  # the one line: from here on, modules, agents, model calls and tools are traced
    model = dspy.LM(
        os.environ.get("OPENAI_MODEL", "openai/gpt-5-mini"), api_base=os.environ.get("OPENAI_BASE_URL"), cache=False
    )
    assistant = dspy.ReAct("question -> answer", tools=[track_parcel], max_iters=3)
    with dspy.context(lm=model), pandaprobe_otel.session("conversation-1"):
        for question in ("Where is my parcel P-4711?", "Thank you!"):
            print(assistant(question=question).answer)


def script(messages: Sequence[Message]) -> Reply:
    """Return the model's reply when no key is set, with the fields that DSPy requests."""
    asked = str(messages[-1]["content"])
    looks_up = "parcel P-4711" in asked and "observation_0" not in asked
    said = {
        "next_thought": "The carrier knows." if looks_up else "I know enough.",
        "next_tool_name": "track_parcel" if looks_up else "finish",
        "next_tool_args": '{"parcel": "P-4711"}' if looks_up else "{}",
        "reasoning": "The carrier said so.",
        "answer": f"Your parcel is {PARCELS['P-4711']}." if "parcel P-4711" in asked else "You are welcome.",
    }
    fields = re.findall(r"`\[\[ ## (\w+) ## ]]`", asked.rpartition("Respond with")[2])
    return Reply(text="\n\n".join(f"[[ ## {name} ## ]]\n{said[name]}" for name in fields if name in said))


if __name__ == "__main__":
    with offline(script):
        main()
