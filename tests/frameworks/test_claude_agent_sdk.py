"""Agents of the Claude Agent SDK, whose own `claude` program calls a scripted model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from claude_agent_sdk import (
    AgentDefinition,
    AssistantMessage,
    ClaudeAgentOptions,
    ClaudeSDKClient,
    HookMatcher,
    Message,
    PermissionResultDeny,
    ResultMessage,
    StreamEvent,
    Transport,
    create_sdk_mcp_server,
    query,
    tool,
)
from claude_agent_sdk._internal.query import Query

import pandaprobe_otel
from agent_traces import AgentTrace, SentTraces
from claude_apps import MODEL, TOOL, claude_model, options
from example_runs import run_example
from framework_cases import (
    CUTS,
    OFFICIAL,
    AgentApp,
    StartModel,
    growth,
    growth_of_ours,
    is_of_the_official_adapter,
    off,
    parcel_talk,
    recorded_apart,
    run_beside_another_vendor,
)
from pandaprobe_otel.demo.completions import Reply, ToolCall
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel_integrations.claude_agent_sdk import ClaudeAgentSDKAdapter, ClaudeAgentSDKInstrumentor

EXPERT = {"expert": AgentDefinition(description="Knows the weather.", prompt="You know weather.", tools=[TOOL])}


async def by_query(given: ClaudeAgentOptions, asked: str) -> list[Message]:
    """Ask once, and return all messages."""
    return [message async for message in query(prompt=asked, options=given)]


async def by_client(given: ClaudeAgentOptions, *asked: str) -> list[Message]:
    """Ask several questions in one session, one after the other."""
    answers: list[Message] = []
    async with ClaudeSDKClient(given) as client:
        for each in asked:
            await client.query(each)
            answers += [message async for message in client.receive_response()]
    return answers


async def by_prompts(given: ClaudeAgentOptions, asked: str) -> list[Message]:
    """Send the question as a stream of prompts."""

    async def prompts() -> AsyncIterator[dict[str, Any]]:
        yield {"type": "user", "message": {"role": "user", "content": [{"type": "text", "text": asked}]}}

    return [message async for message in query(prompt=prompts(), options=given)]


@pytest.mark.parametrize("way", [by_query, by_client, by_prompts])
def test_a_run_is_one_tree(
    way: Callable[..., Coroutine[Any, Any, list[Message]]], traces: SentTraces, model: StartModel, tmp_path: Path
) -> None:
    """Every way to ask makes the same tree; with partial messages, each model call has its own tokens."""
    endpoint = model(claude_model)
    messages = asyncio.run(way(options(endpoint, tmp_path, include_partial_messages=True), "Weather in Oslo?"))

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    session = next(message.session_id for message in messages if isinstance(message, ResultMessage))
    trace.is_like(f"""
        trace ClaudeAgentSDK | COMPLETED | session {session} | Weather in Oslo? > The station says: snowy
        AGENT ClaudeAgentSDK | u > a
          LLM chat {MODEL} @{MODEL} | u > ac
          TOOL {TOOL} | {{"city":"Oslo"}} > "snowy"
          LLM chat {MODEL} @{MODEL} | uact > a
    """)
    told = trace.all("LLM")[1]
    (user, assistant, result) = told["input"]["messages"]
    wire_id = endpoint.exchanges[1].conversation[-1]["tool_call_id"]
    assert (assistant["tool_calls"][0]["id"], result["tool_call_id"], result["content"]) == (wire_id, wire_id, "snowy")
    assert (user["content"], trace.only("TOOL")["metadata"]["tool_call_id"]) == ("Weather in Oslo?", wire_id)
    assert told["metadata"]["agent_name"] == "ClaudeAgentSDK"
    assert "completion_start_time" in told


def test_tokens_without_partial_messages(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """Without partial messages, output tokens and costs of the model calls add up to the program's totals."""
    endpoint = model(claude_model)
    messages = asyncio.run(by_query(options(endpoint, tmp_path), "Weather in Oslo?"))

    trace = traces.one()
    asked = [call["token_usage"]["prompt_tokens"] for call in trace.all("LLM")]
    said = [call["token_usage"]["completion_tokens"] for call in trace.all("LLM")]
    assert asked == [each.usage.prompt_tokens for each in endpoint.exchanges]
    assert sum(said) == sum(each.usage.completion_tokens for each in endpoint.exchanges)
    assert min(said) > 0
    (result,) = [message for message in messages if isinstance(message, ResultMessage)]
    assert sum(call["cost"]["total"] for call in trace.all("LLM")) == pytest.approx(result.total_cost_usd)
    assert trace.root["metadata"]["num_turns"] == 2
    assert "token_usage" not in trace.root


def test_a_tool_that_fails(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """The failed tool's span has status ERROR and the exception's text; the run's status is OK."""
    asyncio.run(by_query(options(model(claude_model), tmp_path), "Weather in Atlantis?"))

    trace = traces.one()
    tool_span = trace.only("TOOL")
    assert (tool_span["status"], trace.root["status"], trace.body["status"]) == ("ERROR", "OK", "COMPLETED")
    assert "no station in Atlantis" in tool_span["error"]


def test_a_sub_agent(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """A sub-agent is an AGENT span below its tool call, with all its model calls, even the last, unreported one."""
    endpoint = model(claude_model)
    given = options(endpoint, tmp_path, agents=EXPERT, include_partial_messages=True)
    asyncio.run(by_query(given, "Ask the expert: Weather in Oslo?"))

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    expert = trace.only("AGENT", "expert")
    assert [span["name"] for span in trace.above(expert)] == ["Agent", "ClaudeAgentSDK"]
    assert [span["kind"] for span in trace.children(expert)] == ["LLM", "TOOL", "LLM"]
    assert "The station says: snowy" in str(expert["output"])


def test_system_prompts(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """The system prompts of agent and sub-agent are the first input message of each of their model calls."""
    endpoint = model(claude_model)
    given = options(endpoint, tmp_path, agents=EXPERT, system_prompt="You are brief.", include_partial_messages=True)
    asyncio.run(by_query(given, "Ask the expert: Weather in Oslo?"))

    trace = traces.one()
    expert = trace.only("AGENT", "expert")
    inner = trace.children(expert)
    told = {span["span_id"]: span["input"]["messages"][0] for span in trace.all("LLM")}
    of_expert = {span["span_id"] for span in inner if span["kind"] == "LLM"}
    assert [told[span_id] for span_id in of_expert] == [{"role": "system", "content": EXPERT["expert"].prompt}] * 2
    others = [message for span_id, message in told.items() if span_id not in of_expert]
    assert others == [{"role": "system", "content": "You are brief."}] * 2


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


def test_what_the_app_does_in_a_run(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """Spans of a tool and of a hook are below the tool call; the run is below the app's own span."""

    @tool("weather", "Tell the weather in a city", {"city": str})
    @pandaprobe_otel.span(name="look up")
    async def look_up(arguments: dict[str, Any]) -> dict[str, Any]:
        return {"content": [{"type": "text", "text": "snowy"}]}

    @pandaprobe_otel.span(name="check")
    async def check(*_: Any) -> Any:
        return {}

    given = options(
        model(claude_model),
        tmp_path,
        mcp_servers={"station": create_sdk_mcp_server("station", tools=[look_up])},
        hooks={"PreToolUse": [HookMatcher(hooks=[check])]},
    )
    with pandaprobe_otel.context(session="own", user="ada"), pandaprobe_otel.agent(name="app"):
        asyncio.run(by_query(given, "Weather in Oslo?"))

    trace = traces.one()
    above = ["ClaudeAgentSDK", "app"]
    assert (trace.body["session_id"], trace.body["user_id"]) == ("own", "ada")
    for name in ("look up", "check"):
        assert [span["name"] for span in trace.above(trace.only(name=name))] == [TOOL, *above]


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

    async def interrupted() -> None:
        began = asyncio.Event()

        @tool("weather", "Tell the weather in a city", {"city": str})
        async def endless(arguments: dict[str, Any]) -> dict[str, Any]:
            began.set()
            await asyncio.Event().wait()
            return {}

        server = create_sdk_mcp_server("station", tools=[endless])
        async with ClaudeSDKClient(options(endpoint, tmp_path, mcp_servers={"station": server})) as client:
            await client.query("Weather in Oslo?")
            await began.wait()
            await client.interrupt()
            assert [message async for message in client.receive_response()]

    endpoint = model(claude_model)
    asyncio.run(interrupted())
    trace = traces.one()
    assert all("ended_at" in span for span in trace.spans)
    assert "ERROR" not in {span["status"] for span in trace.spans}
    assert (trace.body["status"], trace.body["metadata"]["outcome"]) == ("ERROR", "cancelled")
    assert {trace.root["status"], trace.only("TOOL")["status"]} <= {"OK", "UNSET"}


@CUTS
def test_a_run_that_is_cut_short(cut: Any, traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """A run that is cancelled, left or refused is one trace with the true status and outcome."""

    async def run(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
        @tool("weather", "Tell the weather in a city", {"city": str})
        async def slow(arguments: dict[str, Any]) -> dict[str, Any]:
            return {"content": [{"type": "text", "text": await function(arguments["city"])}]}

        station = create_sdk_mcp_server("station", tools=[slow])
        await by_query(options(endpoint, tmp_path, mcp_servers={"station": station}), question)

    async def leave(endpoint: ScriptedEndpoint) -> None:
        given = options(endpoint, tmp_path, include_partial_messages=True)
        async with aclosing(query(prompt="Hi", options=given)) as messages:
            async for message in messages:
                if isinstance(message, StreamEvent) and "delta" in message.event:
                    break

    cut(AgentApp(run=run, leave=leave, script=claude_model, sees_calls=False, passes_stops=False), traces, model)


def test_a_model_that_refuses(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """A refused model call raises in the app and gives the spans of call and run status ERROR."""
    with pytest.raises(Exception, match="There is no Nowhere"):  # newer versions raise a ResultError
        asyncio.run(by_query(options(model(claude_model), tmp_path), "Weather in Nowhere?"))

    trace = traces.one()
    assert [(span["kind"], span["status"]) for span in trace.spans] == [("AGENT", "ERROR"), ("LLM", "ERROR")]
    assert "There is no Nowhere" in trace.only("LLM")["error"]
    assert trace.only("LLM")["model"] == MODEL


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


def test_runs_at_once_do_not_mix(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """Each of several concurrent runs is a separate trace with no spans of the others."""
    endpoint = model(claude_model)

    async def both() -> None:
        await asyncio.gather(
            *(by_query(options(endpoint, tmp_path), f"Weather in {city}?") for city in ("Oslo", "Łódź"))
        )

    asyncio.run(both())
    for trace in traces.new(2):
        assert [span["kind"] for span in trace.children(trace.root)] == ["LLM", "TOOL", "LLM"]
        assert trace.only("TOOL")["input"]["city"] in str(trace.root["input"])


class ScriptedProgram(Transport):
    """A transport in this process that answers as `claude` does, for hundreds of runs."""

    def __init__(self) -> None:
        self._said: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    async def connect(self) -> None:
        pass

    async def write(self, data: str) -> None:
        told = json.loads(data)
        if told["type"] == "control_request":
            answer = {"subtype": "success", "request_id": told["request_id"], "response": {}}
            self._said.put_nowait({"type": "control_response", "response": answer})
            return
        message = {
            "id": "m",
            "model": MODEL,
            "content": [{"type": "text", "text": "Hi."}],
            "usage": {"input_tokens": 1},
        }
        self._said.put_nowait({"type": "assistant", "session_id": "s", "message": message})
        result = {"subtype": "success", "is_error": False, "result": "Hi.", "num_turns": 1, "session_id": "s"}
        self._said.put_nowait({"type": "result", "duration_ms": 1, "duration_api_ms": 1, **result})

    async def read_messages(self) -> AsyncIterator[dict[str, Any]]:
        while (said := await self._said.get()) is not None:
            yield said

    async def close(self) -> None:
        self._said.put_nowait(None)

    async def end_input(self) -> None:
        self._said.put_nowait(None)

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


def test_taking_it_off_and_putting_it_on_again(traces: SentTraces) -> None:
    """Uninstrumenting restores the SDK."""

    async def once() -> None:
        assert [message async for message in query(prompt="Hi", transport=ScriptedProgram())]

    with off("claude_agent_sdk"):
        assert not hasattr(Query.close, "__wrapped__")
        asyncio.run(once())
    asyncio.run(once())
    assert len(traces.one().spans) == 2


def test_the_adapter_of_the_official_sdk(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """The trace has the adapter's session, user, tags and metadata; the run is recorded once."""
    ClaudeAgentSDKAdapter(**OFFICIAL).instrument()
    try:
        asyncio.run(by_query(options(model(claude_model), tmp_path), "Hi"))
    finally:
        ClaudeAgentSDKInstrumentor().values = None

    is_of_the_official_adapter(traces.one())


def test_silent_beside_another_vendor(
    traces: SentTraces, server: LocalServer, model: StartModel, tmp_path: Path
) -> None:
    """While OpenInference records the runs, our integration is skipped and makes no spans."""
    endpoint = model(claude_model)
    where = (server.url, server.api_key, endpoint.url, tmp_path)
    done = run_beside_another_vendor("claude_agent_sdk", *where, ANTHROPIC_BASE_URL=endpoint.url)
    assert done.stdout.startswith("skipped: OpenInference records these calls")
    trace: AgentTrace = traces.one()
    assert not [span["name"] for span in trace.spans if span["metadata"]["scope"].startswith("pandaprobe_otel.")]


def test_the_example(traces: SentTraces, server: LocalServer) -> None:
    """The example, without a key, makes two turns of one session."""
    assert run_example("claude_agent_sdk_agent", server).splitlines()[-1] == "You are welcome."

    parcel_talk(traces)


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
        told = str(span["input"]["messages"][0])
        assert ("You know weather." in told, "claude_code" in told) == (True, prompt["type"] == "preset")


async def test_a_recording_refuses_it(tmp_path: Path) -> None:
    """A recording refuses the SDK: `claude` calls its model in another process, so a replay would make live calls."""
    with pandaprobe_otel.recording(tmp_path / "one.yaml"), pytest.raises(RecordingError, match="command line"):
        async for _ in query(prompt="Hi", options=ClaudeAgentOptions(cli_path="/nowhere/claude")):
            pass
