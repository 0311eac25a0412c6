"""Programs of LlamaIndex, replayed.

LlamaIndex reads the annotations of tools, which must be classes here, not strings.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentStream, AgentWorkflow, FunctionAgent
from llama_index.core.tools import FunctionTool
from llama_index.core.workflow import Context
from llama_index.llms.openai import OpenAI

from replayed_frameworks import DONE, PARTS, Parts, clock, is_replayed, record, run, tells_changes, weather

pytestmark = pytest.mark.usefixtures("traced")


def agent_at(url: str, parts: Parts, tools: Any = None) -> FunctionAgent:
    """An agent whose model is at this address."""
    llm = OpenAI(model=parts.model, api_base=url, api_key="any", default_headers={"Connection": "close"})
    given = [FunctionTool.from_defaults(weather, description=parts.description)]
    if parts.has_clock:
        given.append(FunctionTool.from_defaults(clock))
    return FunctionAgent(
        name="forecaster",
        description="knows weather",
        tools=tools or given,
        llm=llm,
        system_prompt=parts.instructions,
    )


async def answers_of(agent: FunctionAgent, parts: Parts) -> list[str]:
    """Return the agent's answers, each as streamed pieces and as a whole."""
    texts: list[str] = []
    for asked in parts.questions:
        running = AgentWorkflow(agents=[agent]).run(user_msg=asked)
        texts.append("".join([e.delta async for e in running.stream_events() if isinstance(e, AgentStream)]))
        texts.append(str(await running))
    return texts


def streamed(url: str, parts: Parts) -> list[str]:
    """Ask for streamed answers."""
    return asyncio.run(answers_of(agent_at(url, parts), parts))


def test_a_program_is_replayed(tmp_path: Path) -> None:
    """Replays give the recorded result and spans and run no tool; each change is reported at the first call."""
    is_replayed(streamed, tmp_path / "one.yaml")
    tells_changes(streamed, tmp_path / "two.yaml")


def with_context(url: str, parts: Parts) -> list[str]:
    """Ask an agent with a tool that takes the workflow's context, so that this tool runs in a replay too."""

    async def clock(ctx: Context, city: str) -> str:
        """Tell the time in a city."""
        await ctx.store.set("asked", city)
        return str(await ctx.store.get("asked"))

    tools = [FunctionTool.from_defaults(weather), FunctionTool.from_defaults(clock)]
    return asyncio.run(answers_of(agent_at(url, parts, tools), parts))


def test_a_tool_with_the_context_runs(tmp_path: Path) -> None:
    """In a replay, a tool with the workflow's context runs, and the other tool does not."""
    url, result, done = record(with_context, tmp_path / "one.yaml")
    assert done == ["weather Oslo", "weather Rome"]
    assert (run(with_context, url, tmp_path / "one.yaml", PARTS), DONE) == (result, [])
