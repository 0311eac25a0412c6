"""A Google ADK agent with one tool, in one of ADK's own schemas or under OpenInference."""

import asyncio
import sys

from google.adk.agents import LlmAgent, SequentialAgent
from google.adk.agents.run_config import RunConfig, StreamingMode
from google.adk.runners import InMemoryRunner
from google.genai import types

import pandaprobe_otel


def get_weather(location: str) -> dict:
    """The weather in a city."""
    return {"report": "windy, 17 degrees"}


def get_broken_weather(location: str) -> dict:
    """The weather in a city."""
    raise RuntimeError("the sensor is broken")


def tell(agent, question: str, mode: StreamingMode = StreamingMode.NONE) -> None:
    async def told() -> None:
        runner = InMemoryRunner(agent=agent, app_name="weather_app")
        session = await runner.session_service.create_session(
            app_name="weather_app", user_id="user-7", session_id="session-7"
        )
        message = types.Content(role="user", parts=[types.Part(text=question)])
        async for _ in runner.run_async(
            user_id="user-7",
            session_id=session.id,
            new_message=message,
            run_config=RunConfig(streaming_mode=mode),
        ):
            pass

    asyncio.run(told())


def assistant(name: str = "weather_agent", tools: list | None = None) -> LlmAgent:
    return LlmAgent(name=name, model="gemini-2.5-flash", instruction="Be brief.", tools=tools or [])


def tool() -> None:
    tell(assistant(tools=[get_weather]), "Ask the tool about Lisbon.")


def stream() -> None:
    tell(assistant(), "Weather in Lisbon, word by word?", StreamingMode.SSE)


def broken() -> None:
    try:
        tell(assistant(tools=[get_broken_weather]), "Ask the broken tool about Lisbon.")
    except RuntimeError:
        return
    raise AssertionError("no error")


def sequential() -> None:
    agents = [assistant("first"), assistant("second")]
    tell(SequentialAgent(name="pipeline", sub_agents=agents), "Weather in Lisbon, twice?")


if __name__ == "__main__":
    _, instrumentor, *scenarios = sys.argv
    pandaprobe_otel.init(instrument=False)
    if instrumentor == "openinference":
        from openinference.instrumentation.google_adk import GoogleADKInstrumentor

        GoogleADKInstrumentor().instrument()
    for scenario in scenarios:
        globals()[scenario]()
    pandaprobe_otel.flush(20)
