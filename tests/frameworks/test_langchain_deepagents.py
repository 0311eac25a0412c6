"""Deep agents and their sub-agents."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
from deepagents import create_deep_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from agent_traces import SentTraces
from pandaprobe_otel.demo.completions import Message, Reply, ToolCall, text_of
from pandaprobe_otel.demo.scripted_endpoint import Script, ScriptedEndpoint
from weather_model import WEATHER, weather_model


@tool
def weather(city: str) -> str:
    """Tell the weather in a city."""
    return WEATHER[city]


def delegating_model(messages: Sequence[Message]) -> Reply:
    """Delegate each city to a sub-agent; as a sub-agent, look the weather up."""
    last = messages[-1]
    if last["role"] == "user" and "," in text_of(last["content"]):
        cities = text_of(last["content"]).split(", ")
        return Reply(
            tool_calls=tuple(
                ToolCall(
                    name="task", arguments={"description": f"Weather in {city}?", "subagent_type": "meteorologist"}
                )
                for city in cities
            )
        )
    return weather_model(messages)


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke"])
def test_sub_agents(way: str, traces: SentTraces, model: Callable[[Script], ScriptedEndpoint]) -> None:
    """Each sub-agent is an AGENT span with its name below the `task` that started it, with its own calls and tools."""
    endpoint = model(delegating_model)
    agent = create_deep_agent(
        model=ChatOpenAI(model="gpt-5-mini", base_url=endpoint.base_url, api_key="any", stream_usage=True),
        name="boss",
        subagents=[
            {
                "name": "meteorologist",
                "description": "Knows the weather.",
                "system_prompt": "You know the weather.",
                "tools": [weather],
            }
        ],
    )
    asked = {"messages": [{"role": "user", "content": "Oslo, Łódź"}]}
    config = {"configurable": {"thread_id": "deep-1"}}
    if way == "invoke":
        agent.invoke(asked, config)
    elif way == "stream":
        list(agent.stream(asked, config, stream_mode="messages", subgraphs=True))
    else:
        asyncio.run(agent.ainvoke(asked, config))

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert len(endpoint.exchanges) == 6
    assert (trace.body["name"], trace.body["session_id"], trace.root["kind"]) == ("boss", "deep-1", "AGENT")
    tasks = trace.all("TOOL", "task")
    assert len(tasks) == 2
    for task in tasks:
        (agent_span,) = trace.children(task)
        assert (agent_span["kind"], agent_span["name"]) == ("AGENT", "meteorologist")
        city = task["input"]["description"].removeprefix("Weather in ").rstrip("?")
        assert task["output"] == f"The station says: {WEATHER[city]}"
        inside = trace.below(agent_span)
        assert [span["input"] for span in inside if span["kind"] == "TOOL"] == [{"city": city}]
        assert [span["metadata"]["agent_name"] for span in inside if span["kind"] == "LLM"] == ["meteorologist"] * 2
        assert task["metadata"]["agent_name"] == "boss"
