"""An app that uses OpenInference's instrumentation of AutoGen and our integration.

python autogen_rival.py ENDPOINT KEY MODEL_URL
"""

from __future__ import annotations

import asyncio
import sys

import pandaprobe_otel


def main(endpoint: str, key: str, model_url: str) -> None:
    """Run an agent, then print the state of our instrumentation."""
    handle = pandaprobe_otel.init(endpoint=endpoint, api_key=key, project_name="frameworks", strict=True)
    from autogen_agentchat.agents import AssistantAgent
    from autogen_ext.models.openai import OpenAIChatCompletionClient
    from openinference.instrumentation.autogen_agentchat import AutogenAgentChatInstrumentor

    from weather_model import weather

    AutogenAgentChatInstrumentor().instrument()
    client = OpenAIChatCompletionClient(model="gpt-4.1-mini", base_url=model_url, api_key="any")
    agent = AssistantAgent("forecaster", client, tools=[weather], reflect_on_tool_use=True)
    asyncio.run(agent.run(task="Weather in Oslo?"))
    sys.stdout.write(pandaprobe_otel.status().instrumented.get("autogen", "none"))
    assert handle.flush(20)


if __name__ == "__main__":
    main(*sys.argv[1:])
