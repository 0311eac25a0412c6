"""Programs of CrewAI, replayed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import weather_crews as _isolated  # noqa: F401 - configures CrewAI before its import
from replayed_frameworks import Parts, clock, is_replayed, tells_changes, weather

from crewai import LLM, Agent, Crew, Task  # isort: skip
from crewai.tools import BaseTool  # isort: skip

pytestmark = pytest.mark.usefixtures("traced")


class Weather(BaseTool):
    """A tool that is a class."""

    name: str = "weather"
    description: str = "Tell the weather in a city."

    def _run(self, city: str) -> str:
        return weather(city)


class Clock(BaseTool):
    """A second tool that is a class."""

    name: str = "clock"
    description: str = "Tell the time in a city."

    def _run(self, city: str) -> str:
        return clock(city)


def crew_at(url: str, parts: Parts) -> Crew:
    """A crew with a task for each question."""
    agent = Agent(
        role="forecaster",
        goal="Tell the weather.",
        backstory=parts.instructions,
        tools=[Weather(description=parts.description), *([Clock()] if parts.has_clock else [])],
        llm=LLM(model=f"openai/{parts.model}", base_url=url, api_key="any"),
        max_retry_limit=0,
    )
    tasks = [Task(description=asked, expected_output="Words", agent=agent, context=[]) for asked in parts.questions]
    return Crew(name="station", agents=[agent], tasks=tasks)


def crew(url: str, parts: Parts) -> list[str]:
    """Run the crew synchronously."""
    return [str(task.raw) for task in crew_at(url, parts).kickoff().tasks_output]


def crew_async(url: str, parts: Parts) -> list[str]:
    """Run the crew in an event loop."""
    return [str(task.raw) for task in asyncio.run(crew_at(url, parts).akickoff()).tasks_output]


@pytest.mark.parametrize("program", [crew, crew_async])
def test_a_program_is_replayed(program: Any, tmp_path: Path) -> None:
    """Replays give the recorded result and spans and run no tool; each change is reported at the first call."""
    is_replayed(program, tmp_path / "one.yaml")
    tells_changes(program, tmp_path / "two.yaml")
