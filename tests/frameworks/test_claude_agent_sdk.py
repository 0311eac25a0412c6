"""Agents of the Claude Agent SDK, whose own `claude` program calls a scripted model."""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from claude_agent_sdk import (
    AgentDefinition,
    AssistantMessage,
    ClaudeAgentOptions,
    ClaudeSDKClient,
    HookMatcher,
    PermissionResultAllow,
    PermissionResultDeny,
    ResultMessage,
    StreamEvent,
    Transport,
    create_sdk_mcp_server,
    query,
    tool,
)
from claude_agent_sdk import Message as ClaudeMessage

import pandaprobe_otel
from agent_traces import SentTraces
from framework_cases import (
    AT_THE_CLIENT,
    CONFORMANCE,
    AgentApp,
    StartModel,
    growth,
    growth_of_ours,
    holds,
    recorded_apart,
)
from pandaprobe_otel.demo.scripted_endpoint import Message, Refusal, Reply, ScriptedEndpoint, ToolCall, text_of
from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel_integrations.claude_agent_sdk import ClaudeAgentSDKAdapter
from planting import Planted
from weather_model import weather

MODEL = "claude-sonnet-4-5"
TOOL = "mcp__station__weather"
EXPERT = {"expert": AgentDefinition(description="Knows the weather.", prompt="You know weather.", tools=[TOOL])}


def station(function: Any = weather) -> Any:
    """Return a server with this function as its tool, which runs in the app's process."""

    @tool("weather", "Tell the weather in a city", {"city": str})
    async def called(arguments: dict[str, Any]) -> dict[str, Any]:
        found = function(arguments["city"])
        found = await found if inspect.isawaitable(found) else found
        is_content = isinstance(found, list) and "type" in found[0]
        return {"content": found if is_content else [{"type": "text", "text": str(found)}]}

    return create_sdk_mcp_server("station", tools=[called])


def claude_model(messages: Sequence[Message]) -> Reply:
    """Act like `weather_model`, with Claude's name of the tool; "Ask the expert: ..." goes to a sub-agent."""
    last = messages[-1]
    # The `claude` program adds its own reminders before a question and after a result.
    text = text_of(last["content"]).partition("\n")[0 if last["role"] == "tool" else 2] or text_of(last["content"])
    text = text.rpartition("\n")[2]
    if last["role"] == "tool":
        return Reply(text=f"The station says: {text}")
    if text.startswith("Ask the expert: "):
        task = text.removeprefix("Ask the expert: ")
        arguments = {"description": "ask", "prompt": task, "subagent_type": "expert", "run_in_background": False}
        return Reply(text="I ask.", tool_calls=(ToolCall(name="Agent", arguments=arguments),))
    if "Weather in " not in text:
        return Reply(text=f"You said: {text}")
    city = text.rpartition("Weather in ")[2].rstrip("?")
    if city == "Nowhere":
        raise Refusal(400, "There is no Nowhere.")
    return Reply(text="I look.", tool_calls=(ToolCall(name=TOOL, arguments={"city": city}),))


def options(endpoint: ScriptedEndpoint, home: Path, **more: Any) -> ClaudeAgentOptions:
    """Return options for an app with the tool `weather`. The user's own settings of Claude Code do not apply."""
    given: dict[str, Any] = {
        "model": MODEL,
        "cwd": home,
        "setting_sources": [],
        "tools": ["Agent"],
        "mcp_servers": {"station": station()},
        "allowed_tools": [TOOL, "Agent"],
        "env": {
            "ANTHROPIC_BASE_URL": endpoint.url,
            "ANTHROPIC_API_KEY": "scripted",
            "CLAUDE_CONFIG_DIR": str(home / "claude"),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_MAX_RETRIES": "0",
        },
    }
    return ClaudeAgentOptions(**{**given, **more})


async def by_query(given: ClaudeAgentOptions, question: str) -> list[ClaudeMessage]:
    """Ask once, and return all messages."""
    return [message async for message in query(prompt=question, options=given)]


async def by_client(given: ClaudeAgentOptions, *questions: str) -> list[ClaudeMessage]:
    """Ask several questions in one session, one after the other."""
    answers: list[ClaudeMessage] = []
    async with ClaudeSDKClient(given) as client:
        for each in questions:
            await client.query(each)
            answers += [message async for message in client.receive_response()]
    return answers


async def by_prompts(given: ClaudeAgentOptions, question: Any) -> list[ClaudeMessage]:
    """Send the question as a stream of prompts made of blocks."""

    async def prompts() -> AsyncIterator[dict[str, Any]]:
        blocks = [{"type": "text", "text": question}] if isinstance(question, str) else question
        yield {"type": "user", "message": {"role": "user", "content": blocks}}

    return [message async for message in query(prompt=prompts(), options=given)]


async def ask(endpoint: ScriptedEndpoint, question: str, function: Any, way: Any = by_query) -> None:
    """Ask an agent with this tool."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as home:
        more = {"system_prompt": "You know weather.", "include_partial_messages": True}
        await way(options(endpoint, Path(home), mcp_servers={"station": station(function)}, **more), question)


async def leave(endpoint: ScriptedEndpoint) -> None:
    """Stop reading a run after the first piece of its answer."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as home:
        given = options(endpoint, Path(home), include_partial_messages=True)
        async with aclosing(query(prompt="Hi", options=given)) as messages:
            async for message in messages:
                if isinstance(message, StreamEvent) and "delta" in message.event:
                    break


APP = AgentApp(
    run=ask,
    leaves=[leave],
    script=claude_model,
    sees_calls=False,
    passes_stops=False,
    name="claude_agent_sdk",
    package="claude_agent_sdk",
    tree="""
        trace ClaudeAgentSDK | COMPLETED | session SESSION | Weather in Łódź? > The station says: sunny
        AGENT ClaudeAgentSDK | su > a
          LLM chat claude-sonnet-4-5 @claude-sonnet-4-5 | su > ac
          TOOL mcp__station__weather | {"city":"Łódź"} > "sunny"
          LLM chat claude-sonnet-4-5 @claude-sonnet-4-5 | suact > a
    """,
    tool=TOOL,
    rivals={"openinference.instrumentation.claude_agent_sdk:ClaudeAgentSDKInstrumentor": "skipped: OpenInference"},
    adapter=ClaudeAgentSDKAdapter,
)


@CONFORMANCE
def test_conformance(check: Any, traces: SentTraces, model: StartModel) -> None:
    """The SDK's agents are recorded as those of every framework."""
    check(APP, traces, model)


@pytest.mark.parametrize("way", [by_client, by_prompts])
def test_other_ways_to_ask(way: Any, traces: SentTraces, model: StartModel) -> None:
    """They make the same tree; unlike `query`, a client returns an error as a message."""
    *_, matches_the_wire = AT_THE_CLIENT
    matches_the_wire(replace(APP, run=partial(ask, way=way)), traces, model)


def test_tokens_without_partial_messages(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """Without partial messages, output tokens and costs of the model calls add up to the program's totals."""
    endpoint = model(claude_model)
    messages = asyncio.run(by_query(options(endpoint, tmp_path), "Weather in Oslo?"))

    trace = traces.one()
    read = [call["token_usage"]["prompt_tokens"] for call in trace.all("LLM")]
    written = [call["token_usage"]["completion_tokens"] for call in trace.all("LLM")]
    assert read == [each.usage.prompt_tokens for each in endpoint.exchanges]
    assert sum(written) == sum(each.usage.completion_tokens for each in endpoint.exchanges)
    assert min(written) > 0
    (result,) = [message for message in messages if isinstance(message, ResultMessage)]
    assert sum(call["cost"]["total"] for call in trace.all("LLM")) == pytest.approx(result.total_cost_usd)
    assert trace.root["metadata"]["num_turns"] == 2
    assert "token_usage" not in trace.root


def test_a_sub_agent(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """A sub-agent is below its tool call, with all its model calls, which have its own system prompt."""
    endpoint = model(claude_model)
    given = options(endpoint, tmp_path, agents=EXPERT, system_prompt="You are brief.", include_partial_messages=True)
    asyncio.run(by_query(given, "Ask the expert: Weather in Oslo?"))

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    expert = trace.only("AGENT", "expert")
    assert [span["name"] for span in trace.above(expert)] == ["Agent", "ClaudeAgentSDK"]
    inner = trace.children(expert)
    assert [span["kind"] for span in inner] == ["LLM", "TOOL", "LLM"]
    assert "The station says: snowy" in str(expert["output"])
    for call in trace.all("LLM"):
        prompt = EXPERT["expert"].prompt if call in inner else "You are brief."
        assert call["input"]["messages"][0] == {"role": "system", "content": prompt}


def test_a_sub_agent_in_the_background(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """An answer that the main agent gives after a background sub-agent has ended belongs to the same run."""

    def in_background(messages: Any) -> Reply:
        reply = claude_model(messages)
        calls = tuple(
            ToolCall(name=call.name, arguments={**call.arguments, "run_in_background": True})
            if call.name == "Agent"
            else call
            for call in reply.tool_calls
        )
        return Reply(text=reply.text, tool_calls=calls)

    endpoint = model(in_background)
    asyncio.run(by_query(options(endpoint, tmp_path, agents=EXPERT), "Ask the expert: Weather in Oslo?"))

    trace = traces.one()
    assert trace.only("AGENT", "expert") in trace.below(trace.root)
    assert len(trace.all("LLM")) == len(endpoint.exchanges)
    used = [each.usage for each in endpoint.exchanges]
    # A result may count a sub-agent's model call before the program reports it; that call's output is then unknown.
    lost = sum(each.prompt_tokens + each.completion_tokens for each in used) - trace.body["total_tokens"]
    assert 0 <= lost <= max(each.completion_tokens for each in used)
    assert all("ended_at" in span for span in trace.spans)


def test_two_turns_are_one_session(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """Each turn is a trace with its own tokens; the turns share Claude's session."""
    endpoint = model(claude_model)
    given = options(endpoint, tmp_path, include_partial_messages=True)
    messages = asyncio.run(by_client(given, "Hi", "Weather in Oslo?"))

    first, second = traces.new(2)
    session = next(message.session_id for message in messages if isinstance(message, ResultMessage))
    assert {first.body["session_id"], second.body["session_id"]} == {session}
    first.is_sound(endpoint.exchanges[:1])
    second.is_sound(endpoint.exchanges[1:])


def test_spans_of_a_hook_are_inside_the_run(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """Spans of a hook are below the tool call; the run is below the app's own span."""

    @pandaprobe_otel.span(name="check")
    async def check(*_: Any) -> Any:
        return {}

    given = options(model(claude_model), tmp_path, hooks={"PreToolUse": [HookMatcher(hooks=[check])]})
    with pandaprobe_otel.context(session="own", user="ada"), pandaprobe_otel.agent(name="app"):
        asyncio.run(by_query(given, "Weather in Oslo?"))

    trace = traces.one()
    assert (trace.body["session_id"], trace.body["user_id"]) == ("own", "ada")
    assert [span["name"] for span in trace.above(trace.only(name="check"))] == [TOOL, "ClaudeAgentSDK", "app"]


def test_a_tool_that_is_not_allowed(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """A tool call that a person denies has status OK; its span has the denial and the text given to the model."""

    async def refuse(*_: Any) -> PermissionResultDeny:
        return PermissionResultDeny(message="Not today.")

    given = options(model(claude_model), tmp_path, can_use_tool=refuse, allowed_tools=[])
    asyncio.run(by_query(given, "Weather in Oslo?"))

    tool_span = traces.one().only("TOOL")
    assert (tool_span["status"], tool_span["output"]) == ("OK", "Not today.")
    assert tool_span["metadata"]["stopped_by"] == "user_reject"


def test_an_interrupt(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """An interrupt ends the run and its tool without an error, and the trace's outcome is cancelled."""
    endpoint = model(claude_model)

    async def interrupted() -> None:
        began = asyncio.Event()

        async def endless(city: str) -> None:
            began.set()
            await asyncio.Event().wait()

        async with ClaudeSDKClient(options(endpoint, tmp_path, mcp_servers={"station": station(endless)})) as client:
            await client.query("Weather in Oslo?")
            await began.wait()
            await client.interrupt()
            assert [message async for message in client.receive_response()]

    asyncio.run(interrupted())
    trace = traces.one()
    assert all("ended_at" in span for span in trace.spans)
    assert "ERROR" not in {span["status"] for span in trace.spans}
    assert (trace.body["status"], trace.body["metadata"]["outcome"]) == ("ERROR", "cancelled")
    assert {trace.root["status"], trace.only("TOOL")["status"]} <= {"OK", "UNSET"}


def test_an_app_that_fails_in_the_middle(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """An exception of the app between two messages reaches the app unchanged, and every span is ended."""

    async def failing() -> None:
        async for message in query(prompt="Weather in Oslo?", options=options(endpoint, tmp_path)):
            if isinstance(message, AssistantMessage):
                raise KeyError("own")

    endpoint = model(claude_model)
    with pytest.raises(KeyError, match="own"):
        asyncio.run(failing())
    trace = traces.one()
    assert all("ended_at" in span for span in trace.spans)
    assert trace.root["name"] == "ClaudeAgentSDK"


class ScriptedProgram(Transport):
    """A transport in this process that answers as `claude` does, for hundreds of runs."""

    def __init__(self) -> None:
        self._answers: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    async def connect(self) -> None:
        pass

    async def write(self, data: str) -> None:
        request = json.loads(data)
        if request["type"] == "control_request":
            answer = {"subtype": "success", "request_id": request["request_id"], "response": {}}
            self._answers.put_nowait({"type": "control_response", "response": answer})
            return
        message = {
            "id": "m",
            "model": MODEL,
            "content": [{"type": "text", "text": "Hi."}],
            "usage": {"input_tokens": 1},
        }
        self._answers.put_nowait({"type": "assistant", "session_id": "s", "message": message})
        result = {"subtype": "success", "is_error": False, "result": "Hi.", "num_turns": 1, "session_id": "s"}
        self._answers.put_nowait({"type": "result", "duration_ms": 1, "duration_api_ms": 1, **result})

    async def read_messages(self) -> AsyncIterator[dict[str, Any]]:
        while (answer := await self._answers.get()) is not None:
            yield answer

    async def close(self) -> None:
        self._answers.put_nowait(None)

    async def end_input(self) -> None:
        self._answers.put_nowait(None)

    def is_ready(self) -> bool:
        return True


def test_a_thousand_runs_do_not_grow(traces: SentTraces) -> None:
    """A thousand recorded runs leave no objects behind."""

    async def runs(count: int) -> None:
        for _ in range(count):
            assert [message async for message in query(prompt="Hi", transport=ScriptedProgram())]
            assert len(recorded.spans) == 2
            recorded.clear()

    with recorded_apart("claude_agent_sdk") as recorded:
        assert growth_of_ours(lambda count: asyncio.run(runs(count)), 50, first=50) == {}
        assert growth(lambda count: asyncio.run(runs(count)), 1000) < 500


@pytest.mark.parametrize(
    "prompt",
    [
        {"type": "preset", "preset": "claude_code", "append": "You know weather."},
        {"type": "custom", "prompt": "You know weather."},
    ],
)
def test_forms_of_a_system_prompt(prompt: Any, traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """A system prompt of any form is recorded, with the preset's name if it extends one."""
    asyncio.run(by_query(options(model(claude_model), tmp_path, system_prompt=prompt), "Weather in Oslo?"))

    trace = traces.one()
    for span in (trace.root, *trace.all("LLM")):
        assert span["input"]["messages"][0]["role"] == "system"
        text = str(span["input"]["messages"][0])
        assert ("You know weather." in text, "claude_code" in text) == (True, prompt["type"] == "preset")


async def test_a_recording_refuses_it(tmp_path: Path) -> None:
    """A recording refuses the SDK: `claude` calls its model in another process, so a replay would make live calls."""
    with pandaprobe_otel.recording(tmp_path / "one.yaml"), pytest.raises(RecordingError, match="command line"):
        async for _ in query(prompt="Hi", options=ClaudeAgentOptions(cli_path="/nowhere/claude")):
            pass


PICTURE = (  # `claude` checks that the bytes are a picture
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
DIGEST = sha256(base64.b64decode(PICTURE)).hexdigest()


def planting(planted: Planted, model: StartModel, home: Path, **more: Any) -> ClaudeAgentOptions:
    """Return options of an agent whose tool gives texts and a picture."""

    def look_up(city: str) -> Any:
        return [
            {"type": "text", "text": planted["a tool's result"]},
            {"type": "image", "data": PICTURE, "mimeType": "image/png"},
            {"type": "text", "text": planted["another result"]},
        ]

    endpoint = model(lambda messages: planted.script(messages, tool=TOOL))
    return options(endpoint, home, mcp_servers={"station": station(look_up)}, **more)


@pytest.mark.parametrize("way", [by_query, by_client, by_prompts])
def test_planted_words_are_recorded(way: Any, traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """Instructions, question, tool arguments, tool result and answer appear in the trace, pictures as digests."""
    planted = Planted()
    source = {"type": "base64", "media_type": "image/png", "data": PICTURE}
    question: Any = planted["the question"]
    if way is by_prompts:
        question = [{"type": "text", "text": question}, {"type": "image", "source": source}]
    asyncio.run(way(planting(planted, model, tmp_path, system_prompt=planted["the instructions"]), question))
    trace = holds(planted, traces)
    assert (DIGEST in str(trace.root["input"])) == (way is by_prompts)
    assert DIGEST in str(trace.only("TOOL")["output"])
    assert PICTURE not in str(trace.body)


def test_decisions_of_the_app_are_recorded(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """A hook's texts before and after a tool call, and the arguments that the app permits, appear in the trace."""
    planted = Planted()

    async def before(given: Any, tool_use_id: Any, context: Any) -> Any:
        return {
            "hookSpecificOutput": {
                "hookEventName": "PreToolUse",
                "permissionDecision": "ask",
                "permissionDecisionReason": planted["the reason of a question"],
            }
        }

    async def after(given: Any, tool_use_id: Any, context: Any) -> Any:
        more = {"hookEventName": "PostToolUse", "additionalContext": planted["context of a hook"]}
        return {"hookSpecificOutput": more}

    async def allow(name: str, given: dict[str, Any], context: Any) -> Any:
        return PermissionResultAllow(updated_input={**given, "city": planted["the permitted argument"]})

    hooks = {"PreToolUse": [HookMatcher(hooks=[before])], "PostToolUse": [HookMatcher(hooks=[after])]}
    given = planting(planted, model, tmp_path, allowed_tools=[], can_use_tool=allow, hooks=hooks)
    asyncio.run(by_client(given, planted["the question"]))
    holds(planted, traces)


def test_settings_are_recorded(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """Settings that shape the answer, and agents that could be called, are model parameters of the root."""
    planted = Planted()
    verdict = {"type": "string", "description": planted["of a field of the schema"]}
    given = options(
        model(claude_model),
        tmp_path,
        max_turns=7_001,
        disallowed_tools=[planted["a tool that is not allowed"]],
        agents={"expert": AgentDefinition(description=planted["an agent's description"], prompt="You know.")},
        output_format={"type": "json_schema", "schema": {"type": "object", "properties": {"verdict": verdict}}},
    )
    asyncio.run(by_query(given, "Hi"))
    parameters = traces.one().root["model_parameters"]
    assert parameters["max_turns"] == 7_001
    assert planted.missing_in(parameters) == []


def test_a_long_history_has_a_marker(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """Each model call has the messages before it; if they are too long, a marker replaces some."""

    def script(messages: Sequence[Message]) -> Reply:
        done = sum(message["role"] == "tool" for message in messages)
        if done >= 12:
            return Reply(text="Done.")
        return Reply(tool_calls=(ToolCall(name=TOOL, arguments={"city": f"{done} " + "x" * 8000}),))

    given = options(model(script), tmp_path, mcp_servers={"station": station(lambda city: "snowy")})
    asyncio.run(by_query(given, "Hi"))
    assert "messages left out here" in str(traces.one().all("LLM")[-1]["input"])
