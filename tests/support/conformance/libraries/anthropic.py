"""The anthropic client: messages, and beta messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import anthropic

import aws_events
from anthropic_traffic import ANSWERED_BY, MODEL, REQUEST, USAGE, error, events, message, use_events, uses
from conformance import openai_wire, stainless
from conformance.adapter import Adapter, Expected, Wire, calls
from openai_traffic import ANSWER, WORDS

READS: Final = 5
"""The first words come after the start of the message, the start of its text, and a ping."""


def client(url: str, timeout_s: float) -> anthropic.Anthropic:
    """Return a client of the loopback server."""
    return anthropic.Anthropic(base_url=url, api_key="none", max_retries=0, timeout=timeout_s)


def async_client(url: str, timeout_s: float) -> anthropic.AsyncAnthropic:
    """Return an asynchronous client of the loopback server."""
    return anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=0, timeout=timeout_s)


def _messages(client: Any) -> Any:
    return client.messages


def _beta(client: Any) -> Any:
    return client.beta.messages


def _stream(client: Any) -> Any:
    return client.messages.stream(**REQUEST)


MESSAGES: Final = Adapter(
    title="anthropic",
    integration="anthropic",
    client=client,
    async_client=async_client,
    calls={**stainless.calls(_messages, REQUEST), "helper parse": calls("messages.parse", REQUEST)},
    forms={
        **stainless.forms(_messages, REQUEST, READS),
        "helper stream": stainless.managed(_stream, READS),
        "helper text": stainless.managed(_stream, items=lambda stream: stream.text_stream),
    },
    answer=Wire(
        whole=json.dumps(message()).encode(),
        chunks=openai_wire.events(events(), done=False, named=True),
        opening=8,
    ),
    tools=Wire(
        whole=json.dumps(message(*uses(openai_wire.TOOL_CALLS), stop_reason="tool_use")).encode(),
        chunks=openai_wire.events(use_events(openai_wire.TOOL_CALLS), done=False, named=True),
    ),
    refusal=json.dumps(error()).encode(),
    expected=Expected(
        span_name=f"chat {MODEL}",
        provider="anthropic",
        response_model=ANSWERED_BY,
        text=ANSWER,
        words=[word for word in WORDS if len(word) > 4],
        input_tokens=120,
        output_tokens=int(str(USAGE["output_tokens"])),
        finish_reason="stop",
        tool_calls=openai_wire.TOOL_CALLS,
    ),
    needs={
        "helper parse": "messages.parse",
        "helper": "messages.stream",
        "with_streaming_response": "messages.with_streaming_response",
    },
)

BETA: Final = replace(
    MESSAGES,
    title="anthropic beta",
    calls={"plain": stainless.calls(_beta, REQUEST)["plain"]},
    forms={
        "stream": stainless.forms(_beta, REQUEST, READS)["stream"],
        "helper stream": stainless.managed(lambda it: _beta(it).stream(**REQUEST), READS),
    },
    needs={"": "beta.messages", "helper": "beta.messages.stream"},
)

ADAPTERS: Final = (MESSAGES, BETA)


def _cloud(title: str, name: str, provider: str, **given: Any) -> Adapter:
    """Return the adapter of the clients `name` and `Async{name}`."""

    def made(kind: str) -> Callable[[str, float], Any]:
        def client(url: str, timeout_s: float) -> Any:
            return getattr(anthropic, kind)(base_url=url, max_retries=0, timeout=timeout_s, **given)

        return client

    return replace(
        MESSAGES,
        title=title,
        client=made(name),
        async_client=made(f"Async{name}"),
        calls={"plain": MESSAGES.calls["plain"]},
        forms={form: MESSAGES.forms[form] for form in ("stream", "helper stream")},
        expected=replace(MESSAGES.expected, provider=provider),
    )


def _framed(wire: Wire, events: list[Any]) -> Wire:
    """Return the answer as Bedrock streams it: each event is base64 in a frame."""
    chunks = [aws_events.chunk(event) for event in events]
    return replace(wire, chunks=chunks, stream_type=aws_events.CONTENT_TYPE)


_AWS: Final = {"aws_access_key": "none", "aws_secret_key": "none", "aws_region": "us-east-1"}
BEDROCK: Final = replace(
    _cloud("anthropic on Bedrock", "AnthropicBedrock", "aws.bedrock", **_AWS),
    answer=_framed(MESSAGES.answer, events()),
    tools=_framed(MESSAGES.tools, use_events(openai_wire.TOOL_CALLS)),
)
CLOUDS: Final = [
    adapter
    for name, adapter in {
        "AnthropicBedrock": BEDROCK,
        "AnthropicBedrockMantle": _cloud("anthropic on Mantle", "AnthropicBedrockMantle", "aws.bedrock", **_AWS),
        "AnthropicAWS": _cloud(
            "anthropic on AWS", "AnthropicAWS", "aws.bedrock", api_key="none", workspace_id="w", aws_region="us-east-1"
        ),
        "AnthropicVertex": _cloud(
            "anthropic on Vertex", "AnthropicVertex", "gcp.vertex_ai", region="l", project_id="p", access_token="none"
        ),
        "AnthropicGoogleCloud": _cloud(
            "anthropic on Google Cloud", "AnthropicGoogleCloud", "anthropic", skip_auth=True, workspace_id="w"
        ),
        "AnthropicFoundry": _cloud("anthropic on Foundry", "AnthropicFoundry", "azure.ai.inference", api_key="none"),
    }.items()
    if hasattr(anthropic, name)
]
