"""Programs of Google's Agent Development Kit, replayed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from google.adk.agents import LlmAgent, RunConfig
from google.adk.agents.run_config import StreamingMode
from google.adk.runners import InMemoryRunner
from google.adk.tools import FunctionTool, ToolContext
from google.genai import types

from replayed_frameworks import DONE, PARTS, Parts, clock, is_replayed, record, run, tells_changes, weather

pytestmark = [
    pytest.mark.usefixtures("traced"),
    # ADK makes Google's client itself and leaves its connections to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set a key, which Google's client requires."""
    monkeypatch.setenv("GOOGLE_API_KEY", "any")


def agent_at(url: str, parts: Parts, tools: Any = None) -> LlmAgent:
    """An agent whose model is at this address."""

    def described(city: str) -> str:
        return weather(city)

    described.__name__, described.__doc__ = "weather", parts.description
    given = [FunctionTool(described), *([FunctionTool(clock)] if parts.has_clock else [])]
    name = {"gpt-5-mini": "gemini-2.5-flash", "gpt-5": "gemini-2.5-pro"}[parts.model]
    pytest.MonkeyPatch().setenv("GOOGLE_GEMINI_BASE_URL", url.removesuffix("/v1"))
    return LlmAgent(name="forecaster", model=name, instruction=parts.instructions, tools=tools or given)


async def answers_of(agent: LlmAgent, parts: Parts, mode: StreamingMode) -> list[str]:
    """Return the agent's answers, each in a session of its own, and the session's state after each answer."""
    runner = InMemoryRunner(agent=agent, app_name="app")
    texts: list[str] = []
    for number, asked in enumerate(parts.questions):
        session = f"s-{number}"
        await runner.session_service.create_session(app_name="app", user_id="ada", session_id=session)
        message = types.Content(role="user", parts=[types.Part(text=asked)])
        config = RunConfig(streaming_mode=mode)
        async for event in runner.run_async(user_id="ada", session_id=session, new_message=message, run_config=config):
            if event.is_final_response() and event.content:
                texts += [part.text or "" for part in event.content.parts or []]
        made = await runner.session_service.get_session(app_name="app", user_id="ada", session_id=session)
        texts.append(str(made.state if made else ""))
    await runner.close()
    return texts


def whole(url: str, parts: Parts) -> list[str]:
    """Ask for answers in one piece."""
    return asyncio.run(answers_of(agent_at(url, parts), parts, StreamingMode.NONE))


def streamed(url: str, parts: Parts) -> list[str]:
    """Ask for streamed answers."""
    return asyncio.run(answers_of(agent_at(url, parts), parts, StreamingMode.SSE))


@pytest.mark.parametrize("program", [whole, streamed])
def test_a_program_is_replayed(program: Any, tmp_path: Path) -> None:
    """Repeated replays of a program give the recorded result and spans, and run no tool."""
    is_replayed(program, tmp_path / "one.yaml")


@pytest.mark.parametrize("program", [whole, streamed])
def test_changes_are_told(program: Any, tmp_path: Path) -> None:
    """Each change of a program is reported at the first call that it affects."""
    tells_changes(program, tmp_path / "one.yaml")


def with_state(url: str, parts: Parts) -> list[str]:
    """Ask an agent whose tool writes into the session's state."""

    def weather(city: str, tool_context: ToolContext) -> dict[str, str]:
        """Tell the weather in a city."""
        DONE.append(city)
        tool_context.state["asked"] = city
        return {"weather": "sunny"}

    agent = agent_at(url, parts, [FunctionTool(weather), FunctionTool(clock)])
    return asyncio.run(answers_of(agent, parts, StreamingMode.NONE))


def test_the_state_comes_back(tmp_path: Path) -> None:
    """A replay restores the session's state beside the tool's result."""
    url, result, done = record(with_state, tmp_path / "one.yaml")
    assert "'asked': 'Oslo'" in result[1]
    assert len(done) == 4
    assert (run(with_state, url, tmp_path / "one.yaml", PARTS), DONE) == (result, [])
