"""An app that instruments ADK with both another vendor's library and ours.

python google_adk_rival.py ENDPOINT KEY
"""

from __future__ import annotations

import asyncio
import sys

import pandaprobe_otel


def main(endpoint: str, key: str) -> None:
    """Run an agent, then print the state of our instrumentation."""
    handle = pandaprobe_otel.init(endpoint=endpoint, api_key=key, project_name="frameworks", strict=True)
    from google.adk.agents import LlmAgent
    from google.adk.runners import InMemoryRunner
    from openinference.instrumentation.google_adk import GoogleADKInstrumentor

    from weather_model import weather

    GoogleADKInstrumentor().instrument()
    agent = LlmAgent(name="forecaster", model="gemini-2.5-flash", tools=[weather])
    asyncio.run(InMemoryRunner(agent=agent, app_name="app").run_debug("Weather in Oslo?", quiet=True))
    sys.stdout.write(pandaprobe_otel.status().instrumented["google_adk"])
    assert handle.flush(20)


if __name__ == "__main__":
    main(*sys.argv[1:])
