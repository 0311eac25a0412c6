"""An app that instruments smolagents with both another vendor's library and ours.

python smolagents_rival.py ENDPOINT KEY MODEL_URL
"""

from __future__ import annotations

import sys

import pandaprobe_otel


def main(endpoint: str, key: str, model_url: str) -> None:
    """Run an agent, then print the state of our instrumentation."""
    handle = pandaprobe_otel.init(endpoint=endpoint, api_key=key, project_name="frameworks", strict=True)
    from openinference.instrumentation.smolagents import SmolagentsInstrumentor
    from smolagents import OpenAIModel, ToolCallingAgent, tool

    SmolagentsInstrumentor().instrument()

    @tool
    def weather(city: str) -> str:
        """Tell the weather in a city.

        Args:
            city: The city.
        """
        return f"snowy in {city}"

    agent = ToolCallingAgent([weather], OpenAIModel("gpt-5-mini", api_base=model_url, api_key="any"), verbosity_level=0)
    agent.run("Weather in Oslo?")
    sys.stdout.write(pandaprobe_otel.status().instrumented["smolagents"])
    assert handle.flush(20)


if __name__ == "__main__":
    main(*sys.argv[1:])
