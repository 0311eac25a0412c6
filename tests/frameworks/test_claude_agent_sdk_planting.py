"""Content planted in Claude's agents, tools, hooks and settings appears in the trace."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from claude_agent_sdk import (
    AgentDefinition,
    ClaudeAgentOptions,
    ClaudeSDKClient,
    HookMatcher,
    PermissionResultAllow,
    PermissionResultDeny,
    create_sdk_mcp_server,
    query,
    tool,
)

from agent_traces import SentTraces
from claude_apps import options
from framework_cases import StartModel
from pandaprobe_otel.demo.completions import Message, Refusal, Reply, ToolCall, text_of
from planting import Planted

NAME = "mcp__station__look_up"
PICTURE = (  # `claude` checks that the bytes are a picture
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
DIGEST = sha256(base64.b64decode(PICTURE)).hexdigest()


async def by_query(given: ClaudeAgentOptions, asked: Any) -> None:
    """Ask once, and read all messages."""
    async for _ in query(prompt=asked, options=given):
        pass


async def by_client(given: ClaudeAgentOptions, asked: Any) -> None:
    """Ask in a session, and read all messages."""
    async with ClaudeSDKClient(given) as client:
        await client.query(asked)
        async for _ in client.receive_response():
            pass


async def by_prompts(given: ClaudeAgentOptions, asked: Any) -> None:
    """Send the question as a stream of prompts made of blocks."""

    async def prompts() -> AsyncIterator[dict[str, Any]]:
        blocks = [{"type": "text", "text": asked}] if isinstance(asked, str) else asked
        yield {"type": "user", "message": {"role": "user", "content": blocks}}

    await by_query(given, prompts())


WAYS = [by_query, by_client, by_prompts]


def settings(planted: Planted, model: StartModel, home: Path, result: Any = None, **more: Any) -> ClaudeAgentOptions:
    """Return options of an agent with one tool, which returns `result()` or a text."""

    @tool("look_up", planted["what a tool does"], {"city": str, "unit": str})
    async def look_up(arguments: dict[str, Any]) -> dict[str, Any]:
        found = result() if result is not None else [{"type": "text", "text": planted["a tool's result"]}]
        return {"content": found} if isinstance(found, list) else found

    endpoint = model(lambda messages: planted.script(messages, tool=NAME))
    given: dict[str, Any] = {
        "mcp_servers": {"station": create_sdk_mcp_server("station", tools=[look_up])},
        "allowed_tools": [NAME],
        **more,
    }
    return options(endpoint, home, **given)


def comes_out(planted: Planted, traces: SentTraces, *besides: str) -> Any:
    """Assert that the trace contains everything planted except `besides`, and return the trace."""
    trace = traces.one()
    assert [place for place in planted.missing_in(trace.body) if place not in besides] == []
    return trace


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.plants("Query.__init__")
def test_what_is_planted_comes_out(
    way: Any, partial: bool, traces: SentTraces, model: StartModel, tmp_path: Path
) -> None:
    """Instructions, question, tool arguments, tool result and answer appear in the trace."""
    planted = Planted()
    given = settings(
        planted, model, tmp_path, system_prompt=planted["the instructions"], include_partial_messages=partial
    )
    asyncio.run(way(given, planted["the question"]))
    # `claude` reports the names of tools, but not their descriptions.
    comes_out(planted, traces, "what a tool does")


def test_a_question_with_a_picture_comes_out(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """A picture appears in the trace as its digest, beside the text."""
    planted = Planted()
    source = {"type": "base64", "media_type": "image/png", "data": PICTURE}
    asked = [{"type": "text", "text": planted["the question"]}, {"type": "image", "source": source}]
    asyncio.run(by_prompts(settings(planted, model, tmp_path), asked))
    trace = comes_out(planted, traces, "what a tool does")
    assert DIGEST in str(trace.root["input"])


def test_every_content_of_a_tool_comes_out(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """A tool's several texts and picture appear in the trace, the picture as its digest."""
    planted = Planted()

    def result() -> Any:
        return [
            {"type": "text", "text": planted["a text"]},
            {"type": "image", "data": PICTURE, "mimeType": "image/png"},
            {"type": "text", "text": planted["another text"]},
        ]

    asyncio.run(by_query(settings(planted, model, tmp_path, result), planted["the question"]))
    trace = comes_out(planted, traces, "what a tool does")
    told = trace.only("TOOL")
    assert DIGEST in str(told["output"])
    assert PICTURE not in str(trace.body)


def test_a_tool_that_fails_comes_out(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """A failed tool's exception appears in the trace and is the error of its span."""
    planted = Planted()

    def result() -> Any:
        raise LookupError(planted["the exception"])

    asyncio.run(by_query(settings(planted, model, tmp_path, result), planted["the question"]))
    trace = comes_out(planted, traces, "what a tool does")
    assert planted["the exception"] in trace.only("TOOL")["error"]


@pytest.mark.plants("Query._handle_control_request")
def test_decisions_of_the_app_come_out(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """A hook's texts before and after a tool call, and the arguments that the app permits, appear in the trace."""
    planted = Planted()

    async def before(given: Any, tool_use_id: Any, context: Any) -> Any:
        return {
            "hookSpecificOutput": {
                "hookEventName": "PreToolUse",
                "permissionDecision": "ask",
                "permissionDecisionReason": planted["why it is asked"],
            }
        }

    async def after(given: Any, tool_use_id: Any, context: Any) -> Any:
        told = {"hookEventName": "PostToolUse", "additionalContext": planted["what a hook adds"]}
        return {"hookSpecificOutput": told}

    async def allow(name: str, given: dict[str, Any], context: Any) -> Any:
        return PermissionResultAllow(updated_input={**given, "city": planted["what it runs with"]})

    given = settings(
        planted,
        model,
        tmp_path,
        allowed_tools=[],
        can_use_tool=allow,
        hooks={"PreToolUse": [HookMatcher(hooks=[before])], "PostToolUse": [HookMatcher(hooks=[after])]},
    )
    asyncio.run(by_client(given, planted["the question"]))
    comes_out(planted, traces, "what a tool does")


def test_a_tool_that_may_not_run_comes_out(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """The app's reason for denying a tool call appears in the trace."""
    planted = Planted()

    async def deny(name: str, given: dict[str, Any], context: Any) -> Any:
        return PermissionResultDeny(message=planted["why not"])

    given = settings(planted, model, tmp_path, allowed_tools=[], can_use_tool=deny)
    asyncio.run(by_client(given, planted["the question"]))
    comes_out(planted, traces, "what a tool does", "a tool's result")


def test_settings_come_out(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """Settings that shape the answer, and agents that could be called, are model parameters of the root."""
    planted = Planted()
    schema = {
        "type": "object",
        "properties": {"verdict": {"type": "string", "description": planted["of a field of the schema"]}},
    }
    expert = AgentDefinition(description=planted["what the expert knows"], prompt="You know.", tools=[NAME])
    given = settings(
        planted,
        model,
        tmp_path,
        max_turns=7_001,
        disallowed_tools=[planted["a tool that is not allowed"]],
        agents={"expert": expert},
        output_format={"type": "json_schema", "schema": schema},
    )
    asyncio.run(by_query(given, planted["the question"]))
    trace = traces.new(1)[0]
    told = trace.root["model_parameters"]
    assert told["max_turns"] == 7_001
    for place in ("of a field of the schema", "what the expert knows", "a tool that is not allowed"):
        assert planted[place] in str(told)


def test_a_sub_agent_comes_out(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """A sub-agent's instructions, input and answer appear in the trace."""
    planted = Planted()

    def script(messages: Sequence[Message]) -> Reply:
        last = messages[-1]
        if planted["the expert's task"] in text_of(last["content"]) and last["role"] != "tool":
            return Reply(text=planted["the expert's answer"])
        if last["role"] == "tool":
            return Reply(text=planted["the answer"])
        arguments = {
            "description": planted["what the expert is to do"],
            "prompt": planted["the expert's task"],
            "subagent_type": "expert",
            "run_in_background": False,
        }
        return Reply(text=planted["before it asks"], tool_calls=(ToolCall(name="Agent", arguments=arguments),))

    expert = AgentDefinition(description="Knows.", prompt=planted["the expert's instructions"], tools=[NAME])
    given = options(model(script), tmp_path, agents={"expert": expert})
    asyncio.run(by_query(given, planted["the question"]))
    comes_out(planted, traces)


def test_a_refusal_comes_out(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """The error message of a refused call appears in the trace."""
    planted = Planted()

    def script(messages: Sequence[Message]) -> Reply:
        raise Refusal(400, planted["the refusal"])

    with pytest.raises(Exception, match="planted"):
        asyncio.run(by_query(options(model(script), tmp_path), planted["the question"]))
    trace = comes_out(planted, traces)
    assert planted["the refusal"] in trace.root["error"]


def test_a_long_history_says_what_is_left_out(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """Each model call has the messages before it; if they are too long, a marker replaces some."""
    planted = Planted()
    calls = 12

    def script(messages: Sequence[Message]) -> Reply:
        done = sum(message["role"] == "tool" for message in messages)
        if done >= calls:
            return Reply(text=planted["the answer"])
        given = {"city": f"{done} " + "x" * 8000, "unit": planted["an argument"]}
        return Reply(tool_calls=(ToolCall(name=NAME, arguments=given),))

    @tool("look_up", "Look a city up", {"city": str, "unit": str})
    async def look_up(arguments: dict[str, Any]) -> dict[str, Any]:
        return {"content": [{"type": "text", "text": planted["a tool's result"]}]}

    server = create_sdk_mcp_server("station", tools=[look_up])
    given = options(model(script), tmp_path, mcp_servers={"station": server}, allowed_tools=[NAME])
    asyncio.run(by_query(given, planted["the question"]))
    trace = comes_out(planted, traces)
    assert "messages left out here" in str(trace.all("LLM")[-1]["input"])
