"""An agent of Pydantic AI with one tool, instrumented by Pydantic AI in one version of its span format."""

import asyncio
import sys
from importlib.metadata import version

from pydantic_ai import Agent
from pydantic_ai.models.instrumented import InstrumentationSettings

import pandaprobe_otel


def model(api: str) -> str:
    return {
        "openai": "openai-chat:gpt-4o-mini" if major >= 2 else "openai:gpt-4o-mini",
        "responses": "openai-responses:gpt-4o-mini",
        "anthropic": "anthropic:claude-sonnet-4-5",
    }[api]


def agent(api: str, *, tools: bool = True, broken: bool = False) -> Agent:
    agent = Agent(model(api), name="weather_agent", instructions="Be brief.")
    if not tools:
        return agent

    @agent.tool_plain
    def get_weather(location: str) -> str:
        """The weather in a city."""
        if broken:
            raise RuntimeError("the sensor is broken")
        return "windy, 17 degrees"

    return agent


def run(api: str) -> None:
    agent(api).run_sync("Ask the tool about Lisbon.")


def stream(api: str) -> None:
    async def streamed() -> None:
        async with agent(api, tools=False).run_stream("Weather in Lisbon, word by word?") as result:
            await result.get_output()

    asyncio.run(streamed())


def broken(api: str) -> None:
    try:
        agent(api, broken=True).run_sync("Ask the broken tool about Lisbon.")
    except RuntimeError:
        return
    raise AssertionError("no error")


def silent(api: str) -> None:
    """Run with an instrumentation that leaves out content."""
    run(api)


if __name__ == "__main__":
    _, schema, mode, api, *scenarios = sys.argv
    major = int(version("pydantic-ai-slim").split(".")[0])
    pandaprobe_otel.init(instrument=False)
    options = {"event_mode": "logs"} if mode == "logs" else {}
    settings = InstrumentationSettings(version=int(schema), include_content="silent" not in scenarios, **options)
    Agent.instrument_all(settings)
    for scenario in scenarios:
        globals()[scenario](api)
    pandaprobe_otel.flush(20)
