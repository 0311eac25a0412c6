"""An app that uses our integration and either Logfire or OpenInference's span processor for Pydantic AI.

python pydantic_ai_rival.py logfire|openinference ENDPOINT KEY MODEL_URL
"""

from __future__ import annotations

import sys

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import pandaprobe_otel


def main(vendor: str, endpoint: str, key: str, model_url: str) -> None:
    """Run an agent, then print the state of our instrumentation."""
    if vendor == "logfire":
        import logfire

        logfire.configure(send_to_logfire=False, console=False)
        logfire.instrument_pydantic_ai()
    else:
        from openinference.instrumentation.pydantic_ai import OpenInferenceSpanProcessor

        provider = TracerProvider()
        provider.add_span_processor(OpenInferenceSpanProcessor())
        trace.set_tracer_provider(provider)
    handle = pandaprobe_otel.init(endpoint=endpoint, api_key=key, project_name="frameworks", strict=True)
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    from weather_model import weather

    model = OpenAIChatModel("gpt-5-mini", provider=OpenAIProvider(base_url=model_url, api_key="any"))
    Agent(model, name="forecaster", tools=[weather]).run_sync("Weather in Oslo?")
    sys.stdout.write(pandaprobe_otel.status().instrumented["pydantic_ai"])
    assert handle.flush(20)


if __name__ == "__main__":
    main(*sys.argv[1:])
