"""An app that instruments Agno with both another vendor's library and ours.

python agno_rival.py ENDPOINT KEY MODEL_URL
"""

from __future__ import annotations

import sys

import pandaprobe_otel


def main(endpoint: str, key: str, model_url: str) -> None:
    """Run an agent, then print the state of our instrumentation."""
    handle = pandaprobe_otel.init(endpoint=endpoint, api_key=key, project_name="frameworks", strict=True)
    from agno.agent import Agent
    from agno.models.openai import OpenAIChat
    from openinference.instrumentation.agno import AgnoInstrumentor

    from weather_model import weather

    AgnoInstrumentor().instrument()
    model = OpenAIChat(id="gpt-5-mini", base_url=model_url, api_key="any")
    Agent(name="forecaster", model=model, tools=[weather], telemetry=False).run("Weather in Oslo?")
    sys.stdout.write(pandaprobe_otel.status().instrumented["agno"])
    assert handle.flush(20)


if __name__ == "__main__":
    main(*sys.argv[1:])
