"""Protocols whose answers can be rebuilt, and the protocol of a span's call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from pandaprobe_otel.replay.answers import chat, cohere, converse, encoded_bodies, gemini, messages, ollama, responses
from pandaprobe_otel.replay.answers.model_answer import ModelAnswer, mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """The form in which a service answers.

    Attributes:
        document: Makes an answer without streaming.
        chunks: Cuts such an answer into the encoded pieces of a stream.
        refusal: Makes the body of an HTTP error.
        member: A member that every answer without streaming has.
    """

    name: str
    member: str
    document: Callable[[ModelAnswer], dict[str, Any]]
    chunks: Callable[[Mapping[str, Any]], Iterator[bytes]]
    streamed_as: str
    refusal: Callable[[int, str], dict[str, Any]]


_Events = Callable[[Mapping[str, Any]], Iterator[dict[str, Any]]]


def _sse(events: _Events, whole: Mapping[str, Any], *, is_named: bool, last: bytes = b"") -> Iterator[bytes]:
    for event in events(whole):
        yield encoded_bodies.server_sent(event, is_named=is_named)
    if last:
        yield last


def _lines(whole: Mapping[str, Any]) -> Iterator[bytes]:
    return (encoded_bodies.line(event) for event in ollama.events(whole))


def _frames(whole: Mapping[str, Any]) -> Iterator[bytes]:
    return (encoded_bodies.aws_frame(name, payload) for name, payload in converse.events(whole))


def _aws_refusal(status: int, message: str) -> dict[str, Any]:
    return {"message": message}


CHAT: Final = Protocol(
    name="chat",
    member="choices",
    document=chat.document,
    chunks=partial(_sse, chat.events, is_named=False, last=b"data: [DONE]\n\n"),
    streamed_as=encoded_bodies.EVENTS,
    refusal=chat.refusal,
)
RESPONSES: Final = Protocol(
    name="responses",
    member="output",
    document=responses.document,
    chunks=partial(_sse, responses.events, is_named=True),
    streamed_as=encoded_bodies.EVENTS,
    refusal=chat.refusal,
)
MESSAGES: Final = Protocol(
    name="messages",
    member="content",
    document=messages.document,
    chunks=partial(_sse, messages.events, is_named=True),
    streamed_as=encoded_bodies.EVENTS,
    refusal=messages.refusal,
)
GEMINI: Final = Protocol(
    name="gemini",
    member="candidates",
    document=gemini.document,
    chunks=partial(_sse, gemini.events, is_named=False),
    streamed_as=encoded_bodies.EVENTS,
    refusal=gemini.refusal,
)
CONVERSE: Final = Protocol(
    name="converse",
    member="stopReason",
    document=converse.document,
    chunks=_frames,
    streamed_as=encoded_bodies.AWS_EVENTS,
    refusal=_aws_refusal,
)
OLLAMA: Final = Protocol(
    name="ollama",
    member="done",
    document=ollama.document,
    chunks=_lines,
    streamed_as=encoded_bodies.LINES,
    refusal=ollama.refusal,
)
COHERE: Final = Protocol(
    name="cohere",
    member="finish_reason",
    document=cohere.document,
    chunks=partial(_sse, cohere.events, is_named=True),
    streamed_as=encoded_bodies.EVENTS,
    refusal=cohere.refusal,
)

_BY_API: Final = {"chat_completions": CHAT, "responses": RESPONSES}
_BY_ID: Final = (("chatcmpl-", CHAT), ("resp_", RESPONSES))
_BY_PROVIDER: Final[Mapping[str, Protocol]] = {
    "anthropic": MESSAGES,
    "gcp.gemini": GEMINI,
    "gcp.vertex_ai": GEMINI,
    "gcp.gen_ai": GEMINI,
    "aws.bedrock": CONVERSE,
    "ollama": OLLAMA,
    "cohere": COHERE,
    **dict.fromkeys(
        (
            "openai", "azure.ai.openai", "azure.ai.inference", "groq", "mistral_ai", "together_ai", "deepseek", "x_ai",
            "perplexity", "openrouter", "fireworks_ai", "cerebras", "sambanova", "nvidia", "moonshot_ai",
        ),
        CHAT,
    ),
}  # fmt: skip
"""Protocols by the name of a provider: litellm and frameworks use each provider's own protocol."""


def protocol_of(span: Mapping[str, Any]) -> Protocol | None:
    """Return the protocol of an LLM span's call; None if it is not supported."""
    metadata = mapping(span.get("metadata"))
    if (api := metadata.get("api_type")) is not None:
        return _BY_API.get(str(api))
    response_id = str(metadata.get("response_id") or "")
    for prefix, protocol in _BY_ID:
        if response_id.startswith(prefix):
            return protocol
    return _BY_PROVIDER.get(str(metadata.get("provider") or ""))
