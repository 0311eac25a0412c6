from crewai import Agent, Crew, Task
from crewai.tools import tool

import pandaprobe_otel

pandaprobe_otel.init()


@tool
def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return f"{parcel} arrives on Tuesday"


assistant = Agent(
    role="shop assistant",
    goal="Answer customers of a shop",
    backstory="You know the carriers.",
    llm="openai/gpt-5-mini",
    tools=[track_parcel],
)
answer = Task(description="Where is my parcel P-4711?", expected_output="One sentence", agent=assistant)
print(Crew(agents=[assistant], tasks=[answer]).kickoff())
