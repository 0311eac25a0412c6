"""A request rebuilt from a span equals the client's request, as far as traces contain it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import anthropic
import boto3
import openai
import pytest
from google import genai
from google.genai import types

from pandaprobe_otel.mapping import map_trace
from pandaprobe_otel.registry import instrument, uninstrument
from pandaprobe_otel.replay.answers.protocols import protocol_of
from pandaprobe_otel.replay.answers.rebuild import rebuilt
from pandaprobe_otel.replay.capture.model_requests import request_of
from pandaprobe_otel.replay.interactions import RecordedRequest
from pandaprobe_otel.replay.request_keys import RequestReader
from provider_server import ProviderServer, Reply
from rebuilt_spans import served, span_of
from span_recorder import SpanRecorder

SCHEMA: Final[dict[str, Any]] = {"type": "object", "properties": {"number": {"type": "string"}}, "required": ["number"]}
PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def _chat(url: str, changed: str) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": '{"number":"A-17"}'}}
    messages: list[Any] = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Where"}, {"type": "text", "text": f"is it{changed}?"}]},
        {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None},
        {"role": "tool", "tool_call_id": "c1", "content": '{"status": "lost"}'},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}]},
    ]
    tool: Any = {
        "type": "function",
        "function": {"name": "look_up", "description": "d", "parameters": SCHEMA, "strict": True},
    }
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        client.chat.completions.create(
            model="m-1", messages=messages, tools=[tool], temperature=0, max_completion_tokens=7
        )


def _responses(url: str, changed: str) -> None:
    items: list[Any] = [
        {"role": "user", "content": [{"type": "input_text", "text": f"Where is it{changed}?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "I look.", "annotations": []}],
        },
        {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "c1",
            "name": "look_up",
            "arguments": '{"number": "A-17"}',
            "status": "completed",
        },
        {"type": "function_call", "call_id": "c2", "name": "look_up", "arguments": '{"number": "A-18"}'},
        {"type": "function_call_output", "call_id": "c1", "output": '{"status": "lost"}'},
        {"type": "function_call_output", "call_id": "c2", "output": "here"},
    ]
    tool: Any = {"type": "function", "name": "look_up", "parameters": SCHEMA, "strict": False}
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        client.responses.create(model="m-1", input=items, instructions="Be kind.", tools=[tool], store=False)


def _anthropic(url: str, changed: str) -> None:
    messages: list[Any] = [
        {"role": "user", "content": f"Where is it{changed}?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "t1", "name": "look_up", "input": {"number": "A-17"}},
                {"type": "tool_use", "id": "t2", "name": "look_up", "input": {"number": "A-18"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "lost"}]},
                {"type": "tool_result", "tool_use_id": "t2", "content": "here", "is_error": False},
                {"type": "text", "text": "And now?", "cache_control": {"type": "ephemeral"}},
            ],
        },
    ]
    system: Any = [
        {"type": "text", "text": "Be kind."},
        {"type": "text", "text": "Be short.", "cache_control": {"type": "ephemeral"}},
    ]
    tool: Any = {"name": "look_up", "description": "d", "input_schema": SCHEMA}
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as client:
        client.messages.create(model="m-1", max_tokens=9, messages=messages, system=system, tools=[tool])


def _gemini(url: str, changed: str) -> None:
    part, content = types.Part, types.Content
    contents: list[Any] = [
        content(role="user", parts=[part(text=f"Where is it{changed}?")]),
        content(
            role="model",
            parts=[
                part(text="Hm.", thought=True),
                part(function_call=types.FunctionCall(name="look_up", args={"number": "A-17"}), thought_signature=b"s"),
            ],
        ),
        content(
            role="user",
            parts=[part(function_response=types.FunctionResponse(name="look_up", response={"result": "lost"}))],
        ),
    ]
    declared = types.FunctionDeclaration(name="look_up", description="d", parameters_json_schema=SCHEMA)
    config = types.GenerateContentConfig(
        system_instruction="Be kind.", tools=[types.Tool(function_declarations=[declared])], temperature=0.5
    )
    client = genai.Client(api_key="none", vertexai=False, http_options={"base_url": url})
    client.models.generate_content(model="m-1", contents=contents, config=config)
    client.close()


def _bedrock(url: str, changed: str) -> None:
    client: Any = boto3.client(
        "bedrock-runtime",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
    )
    used = {"toolUse": {"toolUseId": "t1", "name": "look_up", "input": {"number": "A-17"}}}
    result = {"toolResult": {"toolUseId": "t1", "content": [{"json": {"status": "lost"}}]}}
    client.converse(
        modelId="m-1",
        system=[{"text": "Be kind."}, {"cachePoint": {"type": "default"}}],
        messages=[
            {"role": "user", "content": [{"text": f"Where is it{changed}?"}]},
            {"role": "assistant", "content": [{"text": "I look."}, used]},
            {"role": "user", "content": [result]},
        ],
        toolConfig={"tools": [{"toolSpec": {"name": "look_up", "description": "d", "inputSchema": {"json": SCHEMA}}}]},
    )
    client.close()


ASKS: Final[dict[str, tuple[str, Callable[[str, str], None]]]] = {
    "openai chat": ("openai", _chat),
    "openai responses": ("openai", _responses),
    "anthropic": ("anthropic", _anthropic),
    "google-genai": ("google_genai", _gemini),
    "bedrock": ("bedrock", _bedrock),
}


def _answer(name: str) -> Reply:
    span = span_of(name, stream=False, reason="stop", calls=False, thought=False)
    protocol = protocol_of(span)
    assert protocol is not None
    return served(rebuilt(span, protocol))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", sorted(ASKS))
def test_the_request_of_a_span_is_the_one_that_was_sent(
    name: str, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """The rebuilt request of a conversation with tools has the key of the sent one, and not of another question."""
    integration, ask = ASKS[name]
    server.replies(_answer(name))
    uninstrument(integration)  # another test of this process may have left it instrumented
    instrument(integration, tracer_provider=recorder.provider)
    try:
        ask(server.url, "")
        (span,) = map_trace(recorder.spans)["spans"]
        ask(server.url, " now")
    finally:
        uninstrument(integration)
    protocol = protocol_of(span)
    assert protocol is not None
    sent, other = (
        RecordedRequest("POST", f"{server.url}{one.path}", one.headers, one.body) for one in server.received[-2:]
    )
    reader = RequestReader(only_traced=True)
    built = reader.read(request_of(span, protocol))
    assert built.fields == reader.read(sent).fields
    assert built.key == reader.read(sent).key
    assert built.key != reader.read(other).key
    assert json.dumps(built.fields["messages"]).count("look_up") >= 1
