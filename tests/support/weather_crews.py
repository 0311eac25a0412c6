"""A CrewAI crew that knows the weather, and settings that isolate CrewAI.

With these settings, CrewAI sends no telemetry, asks nothing about traces, and writes files only in its own directory.
It reads them at its import, which happens only in environments where nothing else runs.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

from weather_model import weather

_storage = tempfile.TemporaryDirectory(prefix="crewai-")
os.environ.update(
    CREWAI_DISABLE_TELEMETRY="true",
    CREWAI_TRACING_ENABLED="false",
    LITELLM_LOCAL_MODEL_COST_MAP="true",  # no download of prices
    CREWAI_STORAGE_DIR=_storage.name,
)

from crewai import LLM, Agent, Crew, Task  # noqa: E402
from crewai.tools import tool  # noqa: E402


def model_of(endpoint: Any, **options: Any) -> Any:
    """Return CrewAI's own client of OpenAI's API."""
    given = {"model": "openai/gpt-5-mini", "base_url": endpoint.base_url, "api_key": "any", **options}
    return LLM(**given)


def forecaster(llm: Any, **options: Any) -> Any:
    """Return an agent that knows the weather."""
    given = {"role": "forecaster", "goal": "Tell the weather.", "backstory": "You know weather."}
    return Agent(llm=llm, **{**given, "tools": [tool(weather)], "max_retry_limit": 0, **options})


def station(llm: Any, question: str, function: Any = weather) -> Any:
    """Return a crew with one task for one agent, which has this tool."""
    agent = forecaster(llm, tools=[tool(function)])
    task = Task(name="report", description=question, expected_output="One sentence", agent=agent)
    return Crew(name="station", agents=[agent], tasks=[task])
