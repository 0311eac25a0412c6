"""The clients' own loops that call the app's functions: one agent span, with model calls and functions below it."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest
from anthropic import _base_client
from opentelemetry.sdk.trace import ReadableSpan

from anthropic_traffic import ANSWER, message
from anthropic_traffic import MODEL as CLAUDE
from anthropic_traffic import QUESTION as CLAUDES_QUESTION
from openai_traffic import MODEL, QUESTION, TOOL, response
from pandaprobe_otel.registry import instrument
from provider_server import ProviderServer, json_reply
from span_recorder import SpanRecorder

runners = pytest.importorskip("openai.lib.responses_tool_runner")
beta_tool: Any = getattr(anthropic, "beta_tool", None)
beta_async_tool: Any = getattr(anthropic, "beta_async_tool", None)
HAS_OWN_SPANS = hasattr(_base_client.BaseClient, "_tracer")
CALL = {
    "id": "fc_1",
    "type": "function_call",
    "call_id": "call_1",
    "name": "get_weather",
    "arguments": '{"place": "Paris"}',
    "status": "completed",
}
ASK: Any = {"model": MODEL, "input": QUESTION}
FUNCTION: Any = {"type": "function", "strict": True, **TOOL["function"]}
USE = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"place": "Paris"}}
ANTHROPIC_ASK: Any = {"model": CLAUDE, "max_tokens": 300, "messages": [{"role": "user", "content": CLAUDES_QUESTION}]}


def _openai_client(server: ProviderServer, kind: Any) -> Any:
    server.replies(json_reply(response(CALL)), json_reply(response()))
    return kind(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def _run_openai(server: ProviderServer) -> Any:
    function = runners.RegisteredFunction(tool=FUNCTION, execute=lambda given: f"Sunny in {given['place']}")
    with _openai_client(server, openai.OpenAI) as client:
        return runners.ResponsesToolRunner(functions=[function]).run(client, ASK)


async def _run_openai_async(server: ProviderServer) -> Any:
    async def execute(given: dict[str, Any]) -> str:
        return f"Sunny in {given['place']}"

    function = runners.AsyncRegisteredFunction(tool=FUNCTION, execute=execute)
    async with _openai_client(server, openai.AsyncOpenAI) as client:
        return await runners.AsyncResponsesToolRunner(functions=[function]).run(client, ASK)


def _check_openai(recorder: SpanRecorder) -> None:
    assert recorder.names == [f"chat {MODEL}", "execute_tool get_weather", f"chat {MODEL}", f"invoke_agent {MODEL}"]
    first, tool, second, agent = recorder.spans
    assert [recorder.parent_of(span) for span in (first, tool, second)] == [agent.name] * 3
    assert _attributes(tool)["gen_ai.tool.call.arguments"] == '{"place": "Paris"}'
    assert _attributes(tool)["gen_ai.tool.call.result"] == "Sunny in Paris"
    assert _attributes(tool)["gen_ai.tool.call.id"] == "call_1"
    assert _attributes(agent)["gen_ai.input.messages"] == _attributes(first)["gen_ai.input.messages"]
    assert _attributes(agent)["gen_ai.output.messages"] == _attributes(second)["gen_ai.output.messages"]
    assert "gen_ai.usage.input_tokens" not in _attributes(agent)
    assert "pandaprobe.outcome" not in _attributes(agent)  # `run` leaves the turns after the last one


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_openai(asynchronous: bool, server: ProviderServer, recorder: SpanRecorder) -> None:
    """The runner's result is the same as without us, and its run is one trace."""
    results: list[Any] = []
    for on in (False, True):
        if on:
            instrument("openai", tracer_provider=recorder.provider)
        results.append(await _run_openai_async(server) if asynchronous else _run_openai(server))
    assert results[0] == results[1]
    _check_openai(recorder)


def test_openai_left_early(server: ProviderServer, recorder: SpanRecorder) -> None:
    """A run whose turns are not read to the end ends without an error."""
    instrument("openai", tracer_provider=recorder.provider)
    function = runners.RegisteredFunction(tool=FUNCTION, execute=lambda _: "Sunny")
    with _openai_client(server, openai.OpenAI) as client:
        turns = runners.ResponsesToolRunner(functions=[function]).iterate(client, ASK)
        assert not next(turns).final
        turns.close()
    assert recorder.names == [f"chat {MODEL}", f"invoke_agent {MODEL}"]
    assert all(span.status.is_unset for span in recorder.spans)
    outcomes = [_attributes(span).get("pandaprobe.outcome") for span in recorder.spans]
    assert outcomes == [None, "partial"]


def _anthropic_client(server: ProviderServer, kind: Any, options: dict[str, Any]) -> Any:
    server.replies(json_reply(message(USE, stop_reason="tool_use")), json_reply(message()))
    return kind(base_url=server.url, api_key="none", max_retries=0, **options)


def _run_anthropic(server: ProviderServer, options: dict[str, Any]) -> Any:
    def weather(place: str) -> str:
        """Weather at a place."""
        return f"Sunny in {place}"

    with _anthropic_client(server, anthropic.Anthropic, options) as client:
        return [*client.beta.messages.tool_runner(**ANTHROPIC_ASK, tools=[beta_tool(weather)])]


async def _run_anthropic_async(server: ProviderServer, options: dict[str, Any]) -> Any:
    async def weather(place: str) -> str:
        """Weather at a place."""
        return f"Sunny in {place}"

    async with _anthropic_client(server, anthropic.AsyncAnthropic, options) as client:
        runner = client.beta.messages.tool_runner(**ANTHROPIC_ASK, tools=[beta_async_tool(weather)])
        return [one async for one in runner]


def _options(recorder: SpanRecorder, *, own: bool) -> dict[str, Any]:
    if beta_tool is None:
        pytest.skip("this version of the client has no runner")
    if own and not HAS_OWN_SPANS:
        pytest.skip("this version of the client makes no spans")
    if not HAS_OWN_SPANS:
        return {}
    return {"open_telemetry": {"tracer_provider": recorder.provider} if own else {"traces": False}}


def _check_anthropic(recorder: SpanRecorder, *, own: bool) -> None:
    names = (
        ("anthropic.custom_tool_use weather", "anthropic.messages.tool_runner")
        if own
        else ("execute_tool weather", f"invoke_agent {CLAUDE}")
    )
    assert recorder.names == [f"chat {CLAUDE}", names[0], f"chat {CLAUDE}", names[1]]
    first, tool, second, agent = recorder.spans
    assert [recorder.parent_of(span) for span in (first, tool, second)] == [agent.name] * 3
    assert json.loads(_attributes(tool)["gen_ai.tool.call.arguments"]) == {"place": "Paris"}
    assert _attributes(tool)["gen_ai.tool.call.result"] == "Sunny in Paris"
    assert _attributes(agent)["gen_ai.input.messages"] == _attributes(first)["gen_ai.input.messages"]
    assert ANSWER in _attributes(agent)["gen_ai.output.messages"]
    assert _attributes(agent)["gen_ai.output.messages"] == _attributes(second)["gen_ai.output.messages"]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("own", [True, False], ids=["the client's spans", "ours"])
async def test_anthropic(own: bool, asynchronous: bool, server: ProviderServer, recorder: SpanRecorder) -> None:
    """The client's own spans are adopted and completed; if the client makes none, we make the spans."""
    options = _options(recorder, own=own)
    results: list[Any] = []
    for on in (False, True):
        recorder.clear()
        if on:
            instrument("anthropic", tracer_provider=recorder.provider)
        run = _run_anthropic_async(server, options) if asynchronous else None
        results.append(await run if run else _run_anthropic(server, options))
    assert results[0] == results[1]
    _check_anthropic(recorder, own=own)


def test_anthropic_without_content(server: ProviderServer, recorder: SpanRecorder) -> None:
    """With `capture_content=False`, no content is added to the client's spans."""
    options = _options(recorder, own=True)
    instrument("anthropic", tracer_provider=recorder.provider, capture_content=False)
    _run_anthropic(server, options)
    assert len(recorder.spans) == 4
    assert not [
        key for span in recorder.spans for key in _attributes(span) if "messages" in key or "tool.call.r" in key
    ]
    assert not any("gen_ai.tool.call.arguments" in _attributes(span) for span in recorder.spans)


def _attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})
