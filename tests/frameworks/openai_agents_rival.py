"""An app that instruments the Agents SDK with both another vendor's library and ours.

python openai_agents_rival.py MODULE ENDPOINT KEY MODEL_URL
"""

from __future__ import annotations

import sys
from importlib import import_module

import pandaprobe_otel


def main(module: str, endpoint: str, key: str, model_url: str) -> None:
    """Run an agent, then print the state of our instrumentation."""
    handle = pandaprobe_otel.init(endpoint=endpoint, api_key=key, project_name="frameworks", strict=True)
    from agents import Agent, OpenAIResponsesModel, Runner, function_tool, set_trace_processors
    from openai import AsyncOpenAI

    from weather_model import weather

    set_trace_processors([])  # send nothing to OpenAI
    import_module(module).OpenAIAgentsInstrumentor().instrument()
    model = OpenAIResponsesModel("gpt-5-mini", AsyncOpenAI(base_url=model_url, api_key="any"))
    Runner.run_sync(Agent(name="forecaster", model=model, tools=[function_tool(weather)]), "Weather in Oslo?")
    sys.stdout.write(pandaprobe_otel.status().instrumented["openai_agents"])
    assert handle.flush(20)


if __name__ == "__main__":
    main(*sys.argv[1:])
