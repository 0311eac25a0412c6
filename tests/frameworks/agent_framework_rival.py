"""An app that uses OpenInference's span processor for Agent Framework and our integration.

python agent_framework_rival.py ENDPOINT KEY MODEL_URL
"""

from __future__ import annotations

import asyncio
import sys

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import pandaprobe_otel


def main(endpoint: str, key: str, model_url: str) -> None:
    """Run an agent, then print the state of our instrumentation."""
    from openinference.instrumentation.agent_framework import AgentFrameworkToOpenInferenceProcessor

    provider = TracerProvider()
    provider.add_span_processor(AgentFrameworkToOpenInferenceProcessor())
    trace.set_tracer_provider(provider)
    handle = pandaprobe_otel.init(endpoint=endpoint, api_key=key, project_name="frameworks", strict=True)
    from agent_framework import Agent
    from agent_framework.openai import OpenAIChatCompletionClient
    from openai import AsyncOpenAI

    from weather_model import weather

    client = OpenAIChatCompletionClient(model="gpt-5-mini", async_client=AsyncOpenAI(base_url=model_url, api_key="any"))
    asyncio.run(Agent(client, "Be brief.", name="forecaster", tools=[weather]).run("Weather in Oslo?"))
    sys.stdout.write(pandaprobe_otel.status().instrumented["agent_framework"])
    assert handle.flush(20)


if __name__ == "__main__":
    main(*sys.argv[1:])
