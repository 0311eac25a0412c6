"""Clients that are built like OpenAI's and speak its protocol: how a chat is asked for, and what its span says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from openai_traffic import ANSWER, ANSWERED_BY, MODEL, QUESTION, TOOL, chat_chunks, completion, error
from provider_server import Reply, events_reply, json_reply

CHAT: Any = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}]}
PAUSE_S = 0.002
CALLS: dict[str, Callable[[Any], Any]] = {
    "create": lambda client: client.chat.completions.create(**CHAT, tools=[TOOL]),
    "raw": lambda client: client.chat.completions.with_raw_response.create(**CHAT, tools=[TOOL]).parse(),
    "with_options": lambda client: client.with_options(timeout=9).chat.completions.create(**CHAT, tools=[TOOL]),
}
ANSWERED: Reply = json_reply(completion())
REFUSED: Reply = json_reply(error(), status=429)
STREAMED: Reply = events_reply(chat_chunks(), pause_s=PAUSE_S)


def check_stream(span: ReadableSpan, provider: str) -> None:
    """The span of a streamed chat that was read to its end."""
    attributes: dict[str, Any] = dict(span.attributes or {})
    assert span.name == f"chat {MODEL}"
    assert span.status.status_code is StatusCode.UNSET
    assert attributes["gen_ai.provider.name"] == provider
    assert QUESTION in attributes["gen_ai.input.messages"]
    assert not any(name.startswith("openai.") for name in attributes)
    assert attributes["gen_ai.response.time_to_first_chunk"] >= PAUSE_S
    check_answer(attributes)


def check_answer(attributes: dict[str, Any]) -> None:
    """The attributes of a complete chat."""
    assert attributes["gen_ai.response.model"] == ANSWERED_BY
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["gen_ai.usage.input_tokens"] == 120
    assert attributes["gen_ai.usage.output_tokens"] == 34
    assert attributes["gen_ai.usage.cache_read.input_tokens"] == 64
    assert said(attributes) == ANSWER


def said(attributes: dict[str, Any]) -> str:
    """The text of the answer in a span."""
    messages = json.loads(attributes.get("gen_ai.output.messages", "[]"))
    return "".join(part["content"] for message in messages for part in message["parts"])
