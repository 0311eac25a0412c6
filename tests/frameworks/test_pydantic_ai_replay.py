"""Programs of Pydantic AI, replayed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI
from pydantic_ai import Agent, BinaryContent, ModelRetry, Tool, ToolReturn
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from replayed_frameworks import DONE, PARTS, Parts, clock, is_replayed, record, run, tells_changes, weather

pytestmark = pytest.mark.usefixtures("traced")


def agent_at(url: str, parts: Parts, kind: Any, tools: Any = None) -> Agent[Any, Any]:
    """An agent whose client leaves no open connection to a closed event loop."""
    client = AsyncOpenAI(base_url=url, api_key="any", default_headers={"Connection": "close"})
    given = [Tool(weather, description=parts.description), *([Tool(clock)] if parts.has_clock else [])]
    model = kind(parts.model, provider=OpenAIProvider(openai_client=client))
    return Agent(model, name="forecaster", instructions=parts.instructions, tools=tools or given)


def responses(url: str, parts: Parts) -> list[str]:
    """Ask over the Responses API, synchronously."""
    agent = agent_at(url, parts, OpenAIResponsesModel)
    return [agent.run_sync(asked).output for asked in parts.questions]


def chat_streamed(url: str, parts: Parts) -> list[str]:
    """Ask over chat completions, with asynchronous streams."""
    agent = agent_at(url, parts, OpenAIChatModel)

    async def ask(question: str) -> str:
        async with agent.run_stream(question) as stream:
            return "".join([piece async for piece in stream.stream_text(delta=True, debounce_by=None)])

    async def ask_all() -> list[str]:
        return [await ask(question) for question in parts.questions]

    return asyncio.run(ask_all())


@pytest.mark.parametrize("program", [responses, chat_streamed])
def test_a_program_is_replayed(program: Any, tmp_path: Path) -> None:
    """Repeated replays of a program give the recorded result and spans, and run no tool."""
    is_replayed(program, tmp_path / "one.yaml")


@pytest.mark.parametrize("program", [responses, chat_streamed])
def test_changes_are_told(program: Any, tmp_path: Path) -> None:
    """Each change of a program is reported at the first call that it affects."""
    tells_changes(program, tmp_path / "one.yaml")


def rich(url: str, parts: Parts) -> str:
    """Ask an agent with a tool that returns a picture beside its result, and a tool that requests a retry."""
    tried: list[str] = []

    def weather(city: str) -> Any:
        """Tell the weather in a city."""
        DONE.append(city)
        tried.append(city)
        picture = BinaryContent(data=b"\x89PNG", media_type="image/png")
        return ToolReturn(return_value={"city": city}, content=["See", picture], metadata={"from": "station"})

    def clock(city: str) -> str:
        """Tell the time in a city."""
        raise ModelRetry(f"no clock in {city}")

    agent = agent_at(url, parts, OpenAIChatModel, [Tool(weather), Tool(clock, max_retries=3)])
    return str(agent.run_sync(parts.questions[0]).all_messages_json())


def test_results_of_every_kind_come_back(tmp_path: Path) -> None:
    """Replays return values for the model, values that accompany them, and requests for a retry."""
    url, _, done = record(rich, tmp_path / "one.yaml")
    assert done == ["Oslo"]
    found = run(rich, url, tmp_path / "one.yaml", PARTS)
    assert DONE == []
    assert all(text in found for text in ("no clock in Oslo", "image/png", '"from":"station"'))
