"""A CrewAI crew that knows the weather, and settings that isolate CrewAI.

With these settings, CrewAI sends no telemetry, asks nothing about traces, and writes files only in its own directory.
It reads them at its import, which happens only in environments where nothing else runs.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from weather_model import WEATHER

_storage = tempfile.TemporaryDirectory(prefix="crewai-")
os.environ.update(
    CREWAI_DISABLE_TELEMETRY="true",
    CREWAI_TRACING_ENABLED="false",
    LITELLM_LOCAL_MODEL_COST_MAP="true",  # no download of prices
    CREWAI_STORAGE_DIR=_storage.name,
)

from crewai import LLM, Agent, Crew, Task  # noqa: E402
from crewai.tools import tool  # noqa: E402


@tool("weather")
def weather(city: str) -> str:
    """Tell the weather in a city."""
    if city not in WEATHER:
        raise LookupError(f"no station in {city}")
    return WEATHER[city]


def model_of(endpoint: ScriptedEndpoint, **options: Any) -> Any:
    """Return CrewAI's own client of OpenAI's API."""
    given = {"model": "openai/gpt-5-mini", "base_url": endpoint.base_url, "api_key": "any", **options}
    return LLM(**given)


def forecaster(llm: Any, **options: Any) -> Any:
    """Return an agent that knows the weather."""
    given = {"role": "forecaster", "goal": "Tell the weather.", "backstory": "You know it.", "tools": [weather]}
    return Agent(llm=llm, **{**given, "max_retry_limit": 0, **options})


def station(llm: Any, asked: str, **options: Any) -> Any:
    """Return a crew with one task for one agent."""
    agent = forecaster(llm)
    task = Task(name="report", description=asked, expected_output="One sentence", agent=agent)
    return Crew(name="station", agents=[agent], tasks=[task], **options)


def station_at(url: str, asked: str) -> Any:
    """Return the crew with a model at this URL."""
    return station(LLM(model="openai/gpt-5-mini", base_url=url, api_key="any"), asked)
