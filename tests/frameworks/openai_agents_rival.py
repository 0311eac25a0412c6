"""An app that has instrumented the Agents SDK with another vendor's library besides ours.

python openai_agents_rival.py ENDPOINT KEY MODEL_URL
"""

from __future__ import annotations

import sys

import pandaprobe_otel


def main(endpoint: str, key: str, model_url: str) -> None:
    """Run an agent, and say what became of our instrumentation."""
    handle = pandaprobe_otel.init(endpoint=endpoint, api_key=key, project_name="frameworks", strict=True)
    from agents import Agent, OpenAIResponsesModel, Runner, function_tool
    from openai import AsyncOpenAI
    from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor

    from weather_model import weather

    OpenAIAgentsInstrumentor().instrument()  # takes the SDK's own exporter off
    model = OpenAIResponsesModel("gpt-5-mini", AsyncOpenAI(base_url=model_url, api_key="any"))
    Runner.run_sync(Agent(name="forecaster", model=model, tools=[function_tool(weather)]), "Weather in Oslo?")
    sys.stdout.write(pandaprobe_otel.status().instrumented["openai_agents"])
    assert handle.flush(20)


if __name__ == "__main__":
    main(*sys.argv[1:])
