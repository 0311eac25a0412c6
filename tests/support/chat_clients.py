"""Clients that are built like OpenAI's and speak its protocol: the forms in which a chat is streamed or answered."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from openai_traffic import ANSWER, ANSWERED_BY, MODEL, QUESTION, TOOL, chat_chunks, completion, error
from provider_server import Reply, events_reply, json_reply
from streamed_forms import AsyncForm, AsyncOpened, Form, Opened, Sighting

CHAT: Any = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}]}
PAUSE_S = 0.002


def _create(client: Any, seen: Sighting) -> Opened:
    stream = seen.saw(client.chat.completions.create(**CHAT, stream=True))
    return Opened(stream, stream.close)


def _raw(client: Any, seen: Sighting) -> Opened:
    raw = seen.saw(client.chat.completions.with_raw_response.create(**CHAT, stream=True))
    stream = seen.saw(raw.parse())
    return Opened(stream, stream.close)


def _streaming_lines(client: Any, seen: Sighting) -> Opened:
    manager = seen.saw(client.chat.completions.with_streaming_response.create(**CHAT, stream=True))
    answer = seen.saw(manager.__enter__())
    return Opened(answer.iter_lines(), lambda: manager.__exit__(None, None, None))


async def _create_async(client: Any, seen: Sighting) -> AsyncOpened:
    stream = seen.saw(await client.chat.completions.create(**CHAT, stream=True))
    return AsyncOpened(stream, stream.close)


async def _raw_async(client: Any, seen: Sighting) -> AsyncOpened:
    raw = seen.saw(await client.chat.completions.with_raw_response.create(**CHAT, stream=True))
    parsed = raw.parse()
    stream = seen.saw(await parsed if isinstance(parsed, Awaitable) else parsed)
    return AsyncOpened(stream, stream.close)


FORMS: dict[str, Form] = {"create": _create, "raw": _raw, "streaming lines": _streaming_lines}
ASYNC_FORMS: dict[str, AsyncForm] = {"create": _create_async, "raw": _raw_async}
CALLS: dict[str, Callable[[Any], Any]] = {
    "create": lambda client: client.chat.completions.create(**CHAT, tools=[TOOL]),
    "raw": lambda client: client.chat.completions.with_raw_response.create(**CHAT, tools=[TOOL]).parse(),
    "with_options": lambda client: client.with_options(timeout=9).chat.completions.create(**CHAT, tools=[TOOL]),
}
ANSWERED: Reply = json_reply(completion())
REFUSED: Reply = json_reply(error(), status=429)


def streamed(ending: str) -> Reply:
    """A stream that suits an ending of `streamed_forms`."""
    if ending == "cancelled":
        return events_reply(chat_chunks()[:6], done=False, hangs_s=1.0)
    return events_reply(chat_chunks(), pause_s=PAUSE_S)


def check_stream(span: ReadableSpan, ending: str, provider: str) -> None:
    """The span of a streamed chat tells what was read of it."""
    attributes: dict[str, Any] = dict(span.attributes or {})
    assert span.name == f"chat {MODEL}"
    assert span.status.status_code is StatusCode.UNSET
    assert attributes["gen_ai.provider.name"] == provider
    assert QUESTION in attributes["gen_ai.input.messages"]
    assert not any(name.startswith("openai.") for name in attributes)
    if ending == "read to the end":
        assert attributes["gen_ai.response.time_to_first_chunk"] >= PAUSE_S
        check_answer(attributes)
    else:
        assert "gen_ai.usage.output_tokens" not in attributes
        assert ANSWER.startswith(said(attributes))


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
