"""Agents of Microsoft's frameworks with one tool: Agent Framework, Semantic Kernel, AutoGen."""

import asyncio
import os
import sys

import pandaprobe_otel


def agent_framework(client: str) -> None:
    import agent_framework
    import agent_framework.openai
    from agent_framework.observability import enable_instrumentation

    enable_instrumentation(enable_sensitive_data=True)

    def get_weather(location: str) -> str:
        """The weather in a city."""
        return "windy, 17 degrees"

    made = getattr(agent_framework.openai, client)(model="gpt-4o-mini")
    agent = agent_framework.Agent(made, "Be brief.", name="weather_agent", tools=[get_weather])
    asyncio.run(agent.run("Ask the tool about Lisbon."))


def semantic_kernel(_: str) -> None:
    import logging

    import openai
    from opentelemetry import _logs
    from opentelemetry.sdk._logs import LoggingHandler
    from semantic_kernel import Kernel
    from semantic_kernel.agents import ChatCompletionAgent
    from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion
    from semantic_kernel.functions import kernel_function

    logging.getLogger().addHandler(LoggingHandler(logger_provider=_logs.get_logger_provider()))
    logging.getLogger().setLevel(logging.INFO)

    class Weather:
        @kernel_function(name="get_weather", description="The weather in a city.")
        def get_weather(self, location: str) -> str:
            return "windy, 17 degrees"

    service = OpenAIChatCompletion(ai_model_id="gpt-4o-mini", async_client=openai.AsyncOpenAI(max_retries=0))
    agent = ChatCompletionAgent(
        kernel=Kernel(), service=service, name="weather_agent", instructions="Be brief.", plugins=[Weather()]
    )
    asyncio.run(agent.get_response(messages="Ask the tool about Lisbon."))


def autogen(_: str) -> None:
    from autogen_agentchat.agents import AssistantAgent
    from autogen_ext.models.openai import OpenAIChatCompletionClient

    async def get_weather(location: str) -> str:
        """The weather in a city."""
        return "windy, 17 degrees"

    async def run() -> None:
        client = OpenAIChatCompletionClient(model="gpt-4o-mini", base_url=os.environ["OPENAI_BASE_URL"])
        agent = AssistantAgent("weather_agent", client, tools=[get_weather], system_message="Be brief.")
        await agent.run(task="Ask the tool about Lisbon.")

    asyncio.run(run())


if __name__ == "__main__":
    _, framework, *rest = sys.argv
    pandaprobe_otel.init(instrument=False)
    globals()[framework](rest[0] if rest else "")
    pandaprobe_otel.flush(20)
