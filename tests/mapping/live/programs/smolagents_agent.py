"""A smolagents agent with one tool, under OpenInference."""

from openinference.instrumentation.smolagents import SmolagentsInstrumentor
from smolagents import OpenAIServerModel, ToolCallingAgent, tool

import pandaprobe_otel


@tool
def final_weather(location: str) -> str:
    """The weather in a city.

    Args:
        location: the city
    """
    return "windy, 17 degrees"


if __name__ == "__main__":
    pandaprobe_otel.init(instrument=False)
    SmolagentsInstrumentor().instrument()
    model = OpenAIServerModel(model_id="gpt-4o-mini")
    ToolCallingAgent(tools=[final_weather], model=model, max_steps=2, verbosity_level=0).run(
        "Ask the tool about Lisbon."
    )
    pandaprobe_otel.flush(20)
