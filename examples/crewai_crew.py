"""A crew of CrewAI whose agent has a tool, traced by one line: two turns of one session.

pip install "pandaprobe-otel[crewai,local]"
python crewai_crew.py                 # a scripted model and a local PandaProbe: no key, no cost
OPENAI_API_KEY=... PANDAPROBE_API_KEY=... python crewai_crew.py
"""

import os

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool

import pandaprobe_otel
from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripts import parcel_script

PARCELS = {"P-4711": "on its way, arrives on Tuesday before noon"}


@tool
def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return PARCELS.get(parcel, "unknown to the carrier")


def shop() -> Crew:
    assistant = Agent(
        role="shop assistant",
        goal="Answer customers of a shop in one sentence.",
        backstory="You know the carriers.",
        llm=LLM(model=os.environ.get("OPENAI_MODEL", "openai/gpt-5-mini")),
        tools=[track_parcel],
    )
    answer = Task(name="answer", description="{question}", expected_output="One sentence", agent=assistant)
    return Crew(name="shop", agents=[assistant], tasks=[answer])


def main() -> None:
    pandaprobe_otel.init()  # the one line: from here on, crews, tasks, agents, model calls and tools are traced
    with pandaprobe_otel.session("conversation-1"):
        for question in ("Where is my parcel P-4711?", "Thank you!"):
            print(shop().kickoff(inputs={"question": question}))


script = parcel_script()  # the model's replies when no key is set

if __name__ == "__main__":
    with offline(script):
        main()
