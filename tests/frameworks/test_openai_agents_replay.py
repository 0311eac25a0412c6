"""Programs of the OpenAI Agents SDK, replayed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import agents
import pytest
from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool
from openai import AsyncOpenAI
from pydantic import BaseModel

import pandaprobe_otel
from replayed_frameworks import (
    AT_ONCE,
    DONE,
    PARTS,
    Parts,
    clock,
    is_replayed,
    pause,
    record,
    run,
    tells_changes,
    tells_changes_of_branches,
    weather,
)


@pytest.fixture(scope="module", autouse=True)
def nothing_goes_to_openai(traced: pandaprobe_otel.PandaProbe) -> None:
    """Remove the SDK's exporter as an app would; our processor stays."""
    agents.set_trace_processors([])


class Report(BaseModel):
    """A structured answer."""

    place: str
    degrees: int


def agent_at(url: str, parts: Parts, kind: Any, **options: Any) -> Agent[Any]:
    """An agent whose client leaves no open connection to a closed event loop."""
    client = AsyncOpenAI(base_url=url, api_key="any", default_headers={"Connection": "close"})
    tools = [function_tool(weather, description_override=parts.description)]
    if parts.has_clock:
        tools.append(function_tool(clock))
    model = kind(parts.model, openai_client=client)
    return Agent(name="forecaster", instructions=parts.instructions, tools=[*tools], model=model, **options)


def responses(url: str, parts: Parts) -> list[str]:
    """Ask over the Responses API, synchronously."""
    agent = agent_at(url, parts, OpenAIResponsesModel)
    return [Runner.run_sync(agent, asked).final_output for asked in parts.questions]


def chat_streamed(url: str, parts: Parts) -> list[str]:
    """Ask over chat completions, with asynchronous streams."""
    agent = agent_at(url, parts, OpenAIChatCompletionsModel)

    async def ask(question: str) -> str:
        result = Runner.run_streamed(agent, question)
        assert len([event async for event in result.stream_events()]) > 2
        return str(result.final_output)

    async def ask_all() -> list[str]:
        return [await ask(question) for question in parts.questions]

    return asyncio.run(ask_all())


def structured(url: str, parts: Parts) -> list[Any]:
    """Ask for an answer that is JSON with a schema."""
    agent = agent_at(url, parts, OpenAIResponsesModel, output_type=Report)
    return [Runner.run_sync(agent, f"As JSON: {asked} as JSON").final_output for asked in parts.questions]


@pytest.mark.parametrize("program", [responses, chat_streamed, structured])
def test_a_program_is_replayed(program: Any, tmp_path: Path) -> None:
    """Repeated replays of a program give the recorded result and spans, and run no tool."""
    is_replayed(program, tmp_path / "one.yaml")


@pytest.mark.parametrize("program", [responses, chat_streamed, structured])
def test_changes_are_told(program: Any, tmp_path: Path) -> None:
    """Each change of a program is reported at the first call that it affects."""
    tells_changes(program, tmp_path / "one.yaml")


def at_once(url: str, parts: Parts, decorate: Any = lambda one: one) -> list[str]:
    """Ask all questions at once, of which two run at a time, then ask about all answers."""
    agent = agent_at(url, parts, OpenAIResponsesModel)

    @decorate
    async def ask(question: str) -> str:
        await pause()
        return str((await Runner.run(agent, question)).final_output)

    async def ask_all() -> list[str]:
        free = asyncio.Semaphore(2)

        async def limited(question: str) -> str:
            async with free:
                return str(await ask(question))

        answers = await asyncio.gather(*map(limited, parts.questions))
        return [*answers, await ask(f"Sum up: {answers}")]

    return asyncio.run(ask_all())


def at_once_decorated(url: str, parts: Parts) -> list[str]:
    """Ask in the app's own spans."""
    with pandaprobe_otel.agent("all"):
        return at_once(url, parts, pandaprobe_otel.agent(name="ask"))


@pytest.mark.parametrize("program", [at_once, at_once_decorated])
def test_agents_that_run_at_once(program: Any, tmp_path: Path) -> None:
    """An unchanged program with concurrent runs is replayed each time, and a change of one run is reported."""
    is_replayed(program, tmp_path / "one.yaml", AT_ONCE)
    tells_changes_of_branches(program, tmp_path / "two.yaml")


def failing(url: str, parts: Parts) -> str:
    """Ask an agent with a failing tool, whose error the SDK passes to the model."""

    def weather(city: str) -> str:
        """Tell the weather in a city."""
        DONE.append(city)
        raise LookupError(f"no station in {city}")

    agent = agent_at(url, parts, OpenAIResponsesModel).clone(tools=[function_tool(weather), function_tool(clock)])
    return str(Runner.run_sync(agent, parts.questions[0]).final_output)


def nested(url: str, parts: Parts) -> str:
    """Ask an agent with an agent as its tool: the inner agent runs in a replay too, and its tools do not."""
    inner = agent_at(url, parts, OpenAIResponsesModel)
    tools = [inner.as_tool("weather", "Ask the station."), function_tool(clock)]
    agent = agent_at(url, parts, OpenAIResponsesModel).clone(tools=[*tools])
    return str(Runner.run_sync(agent, parts.questions[0]).final_output)


@pytest.mark.parametrize("program", [failing, nested])
def test_tools_that_fail_or_ask_a_model(program: Any, tmp_path: Path) -> None:
    """A replay gives the model the same texts, and no tool of the program runs."""
    url, result, done = record(program, tmp_path / "one.yaml")
    assert done
    assert (run(program, url, tmp_path / "one.yaml", PARTS), DONE) == (result, [])
