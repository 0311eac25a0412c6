"""Spans of model calls as PandaProbe stores them, and a check that clients can read the answers rebuilt from them."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any

from heard_answers import Heard, Listener
from pandaprobe_otel.replay.answers.protocols import protocol_of
from pandaprobe_otel.replay.answers.rebuild import rebuilt
from pandaprobe_otel.replay.interactions import RecordedAnswer
from provider_server import ProviderServer, Reply

TEXT = 'Line one:\n  "two" – ü, 日本.'
THOUGHT = "They ask for A-17;\n\nI look."
CALLS = (("look_up", {"number": "A-17", "deep": {"a": [1, None]}}), ("look_up", {"number": "ß"}))
PROVIDERS = {
    "openai chat": ("openai", "chat_completions"),
    "openai chat helper": ("openai", "chat_completions"),
    "openai responses": ("openai", "responses"),
    "anthropic": ("anthropic", None),
    "google-genai": ("gcp.gemini", None),
    "bedrock": ("aws.bedrock", None),
    "mistralai": ("mistral_ai", None),
    "groq": ("groq", None),
    "together": ("together_ai", None),
    "ollama": ("ollama", None),
    "cohere": ("cohere", None),
    "litellm to openai": ("openai", None),
    "litellm to anthropic": ("anthropic", None),
}
FINISHES = {
    "anthropic": ("tool_use", "max_tokens"),
    "bedrock": ("tool_use", "max_tokens"),
    "google-genai": ("STOP", "MAX_TOKENS"),
    "openai responses": ("completed", "incomplete"),
    "ollama": ("stop", "length"),
    "cohere": ("TOOL_CALL", "MAX_TOKENS"),
}
HELPERS = ("openai chat helper", "openai responses")
"""Stream helpers of clients that raise an error if a stream ends too early."""
SILENT = {"mistralai", "groq", "together"}
"""Clients that drop the member in which services with this protocol send thoughts."""


def span_of(name: str, *, stream: bool, reason: str, calls: bool, thought: bool) -> dict[str, Any]:
    """Return the span of a call, in the form of PandaProbe's API."""
    provider, api = PROVIDERS[name]
    asked = [
        {"id": f"call_{at}", "type": "function", "function": {"name": tool, "arguments": json.dumps(arguments)}}
        for at, (tool, arguments) in enumerate(CALLS)
    ]
    message = {"role": "assistant", "content": TEXT, **({"tool_calls": asked} if calls else {})}
    return {
        "span_id": "c21a4797-2773-0120-b654-c3be289d6ddc",
        "kind": "LLM",
        "status": "OK",
        "name": "chat m-1",
        "model": "m-1",
        "input": {"messages": [{"role": "user", "content": "Where is it?"}]},
        "output": {"messages": [message]},
        "token_usage": {"prompt_tokens": 120, "completion_tokens": 34, "cache_read_tokens": 20, "reasoning_tokens": 12},
        "metadata": {
            "provider": provider,
            "finish_reasons": [reason],
            **({"stream": True} if stream else {}),
            **({"api_type": api} if api else {}),
            **({"reasoning_summary": THOUGHT} if thought else {}),
        },
        "started_at": "2026-11-28T11:05:32.000000Z",
        "completion_start_time": "2026-11-28T11:05:32.100000Z",
        "ended_at": "2026-11-28T11:05:32.400000Z",
    }


def served(answer: RecordedAnswer) -> Reply:
    """Return the reply with which the server sends the answer, chunk by chunk."""
    ends = list(accumulate((size for _, size in answer.chunks), initial=0)) if answer.chunks else [0, len(answer.body)]
    headers = {key: value for key, value in answer.headers.items() if key != "content-type"}
    return Reply(
        chunks=[answer.body[start:end] for start, end in pairwise(ends)],
        status=answer.status,
        content_type=answer.headers["content-type"],
        headers=headers,
    )


def check(name: str, listener: Listener, server: ProviderServer, *, calls: bool, stream: bool) -> None:
    """Let a client read the answer rebuilt from a span, and compare it with the content of the span."""
    reason = "tool_calls" if calls else "stop" if stream and name in HELPERS else "length"
    span = span_of(name, stream=stream, reason=reason, calls=calls, thought=True)
    protocol = protocol_of(span)
    assert protocol is not None
    server.replies(served(rebuilt(span, protocol)))
    heard = (listener.stream if stream else listener.plain)(server.url)
    at_last = FINISHES.get(name, ("tool_calls", "length"))[0 if calls else 1]
    expected = Heard(
        text=TEXT,
        reasoning=THOUGHT,
        calls=CALLS if calls else (),
        finish={"openai chat helper": "stop", "openai responses": "completed"}[name] if reason == "stop" else at_last,
        tokens=(120, 34),
    )
    if name in SILENT:
        expected, heard = replace(expected, reasoning=""), replace(heard, reasoning="")
    assert heard == expected
