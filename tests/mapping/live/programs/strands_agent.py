"""A Strands agent with one tool; Strands makes the spans itself."""

import sys

from strands import Agent, tool
from strands.models.openai import OpenAIModel

import pandaprobe_otel


@tool
def get_weather(location: str) -> str:
    """The weather in a city."""
    return "windy, 17 degrees"


def run() -> None:
    agent = Agent(
        model=OpenAIModel(model_id="gpt-4o-mini", client_args={"max_retries": 0}),
        tools=[get_weather],
        system_prompt="Be brief.",
        name="weather_agent",
        callback_handler=None,
    )
    agent("Ask the tool about Lisbon.")


if __name__ == "__main__":
    pandaprobe_otel.init(instrument=False)
    for scenario in sys.argv[1:]:
        globals()[scenario]()
    pandaprobe_otel.flush(20)
