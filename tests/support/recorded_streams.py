"""Recorded streams of providers, divided into events, and the clients of the conformance suite that can read them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import aws_events
from recorded_traffic import Exchange, exchanges, name, recordings

PROVIDERS: Final = (
    "anthropic",
    "azure_openai",
    "bedrock",
    "cohere",
    "deepseek",
    "google-genai",
    "mistralai",
    "openai",
    "openrouter",
    "vertexai",
)
_LIKE_OPENAI: Final = ("openai", "groq", "litellm", "together")
_READERS: Final = (
    ("mistral.ai/v1/chat/completions", ("mistralai",)),
    ("/v1/messages", ("anthropic", "anthropic beta")),
    ("/chat/completions", _LIKE_OPENAI),
    ("/v1/responses", ("openai responses",)),
    ("/interactions", ("google-genai interactions",)),
    (":streamGenerateContent", ("google-genai",)),
    ("/converse-stream", ("Bedrock Converse",)),
    ("/invoke-with-response-stream", ("Bedrock InvokeModel",)),
    ("/v1/chat", ("cohere v1",)),
    ("/v2/chat", ("cohere",)),
)
"""Part of a URL, and the titles of the adapters that can read its streams, the provider's own adapter first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedStream:
    """One streamed answer: its events as received bytes, and the clients that can read it."""

    name: str
    events: Sequence[bytes]
    content_type: str
    readers: Sequence[str]


def recorded_streams() -> Iterator[RecordedStream]:
    """Yield the streams of our own cassettes of these providers, and of the collection beside the checkout."""
    for recording in recordings(*PROVIDERS):
        for number, exchange in enumerate(exchanges(recording)):
            readers = _readers(exchange)
            kind = _content_type(exchange)
            if exchange.status == 200 and kind and readers:
                yield RecordedStream(
                    name=f"{name(recording)} {number}",
                    events=_events(exchange.content, kind),
                    content_type=kind,
                    readers=readers,
                )


def _readers(exchange: Exchange) -> Sequence[str]:
    return next((titles for part, titles in _READERS if part in exchange.url), ())


def _content_type(exchange: Exchange) -> str | None:
    """Return the content type by path and bytes, since recordings lack some headers; None for a whole answer."""
    if exchange.path.endswith(("/converse-stream", "/invoke-with-response-stream")):
        return aws_events.CONTENT_TYPE
    if exchange.answer.lstrip().startswith(("data:", "event:", ":")):
        return "text/event-stream"
    return "application/stream+json" if exchange.answer.count("\n{") > 1 else None


def _events(content: bytes, kind: str) -> Sequence[bytes]:
    if kind == aws_events.CONTENT_TYPE:
        return tuple(_frames(content))
    end = rb"\n" if kind.endswith("json") else rb"\r?\n\r?\n"
    return tuple(re.findall(rb".*?" + end + rb"|.+", content, re.DOTALL))


def _frames(content: bytes) -> Iterator[bytes]:
    """Yield the frames, each of which begins with its length."""
    while content:
        length = int.from_bytes(content[:4], "big")
        yield content[:length]
        content = content[length:]
