"""An app that uses OpenInference's span processor for Strands and our integration.

python strands_rival.py ENDPOINT KEY MODEL_URL
"""

from __future__ import annotations

import sys

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import pandaprobe_otel


def main(endpoint: str, key: str, model_url: str) -> None:
    """Run an agent, then print the state of our instrumentation."""
    from openinference.instrumentation.strands_agents import StrandsAgentsToOpenInferenceProcessor

    provider = TracerProvider()
    provider.add_span_processor(StrandsAgentsToOpenInferenceProcessor())
    trace.set_tracer_provider(provider)
    handle = pandaprobe_otel.init(endpoint=endpoint, api_key=key, project_name="frameworks", strict=True)
    from strands import Agent, tool
    from strands.models.openai import OpenAIModel

    from weather_model import weather

    model = OpenAIModel(model_id="gpt-5-mini", client_args={"base_url": model_url, "api_key": "any"})
    Agent(model=model, name="forecaster", tools=[tool(weather)], callback_handler=None)("Weather in Oslo?")
    sys.stdout.write(pandaprobe_otel.status().instrumented["strands"])
    assert handle.flush(20)


if __name__ == "__main__":
    main(*sys.argv[1:])
