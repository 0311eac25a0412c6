"""The wire protocols of the scripted endpoint: requests, answers and streams.

Sources: OpenAI's API reference for `/chat/completions` and `/responses`, Anthropic's for `/v1/messages`, Google's for
`models.generateContent`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pandaprobe_otel.demo import anthropic_messages, completions, gemini, responses
from pandaprobe_otel.demo.completions import Message, Reply, Usage

Content = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One answer, independent of the protocol."""

    response_id: str
    model: str
    reply: Reply
    usage: Usage
    wants_usage: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """A protocol of a model API."""

    path: str | None
    """Path of its requests; None if the path contains the model."""
    id_prefix: str
    """Prefix of the ids of answers."""
    conversation: Callable[[Content], Sequence[Message] | None]
    """Returns the messages of a request in the form of chat completions; None for an invalid body."""
    expects: str
    """Description of a valid body, for the answer to an invalid one."""
    document: Callable[[Said], Content]
    """Returns an answer as a whole."""
    events: Callable[[Said], Iterator[Content]]
    """Yields the events of a streamed answer."""
    named: bool
    """True if each event has its `type` in an `event:` line."""
    last: str | None
    """The end of a stream, after its events."""
    refusal: Callable[[int, str], Content]
    """Returns the body of an HTTP error."""


def _chat_document(said: Said) -> Content:
    return completions.completion(response_id=said.response_id, model=said.model, reply=said.reply, usage=said.usage)


def _chat_events(said: Said) -> Iterator[Content]:
    return completions.chunks(
        response_id=said.response_id,
        model=said.model,
        reply=said.reply,
        usage=said.usage,
        include_usage=said.wants_usage,
    )


def _response_document(said: Said) -> Content:
    return responses.document(response_id=said.response_id, model=said.model, reply=said.reply, usage=said.usage)


def _response_events(said: Said) -> Iterator[Content]:
    return responses.events(response_id=said.response_id, model=said.model, reply=said.reply, usage=said.usage)


def _message_document(said: Said) -> Content:
    return anthropic_messages.document(
        response_id=said.response_id, model=said.model, reply=said.reply, usage=said.usage
    )


def _message_events(said: Said) -> Iterator[Content]:
    return anthropic_messages.events(response_id=said.response_id, model=said.model, reply=said.reply, usage=said.usage)


def _gemini_document(said: Said) -> Content:
    return gemini.document(response_id=said.response_id, model=said.model, reply=said.reply, usage=said.usage)


def _gemini_events(said: Said) -> Iterator[Content]:
    return gemini.events(response_id=said.response_id, model=said.model, reply=said.reply, usage=said.usage)


def _openai_refusal(status: int, message: str) -> Content:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def _anthropic_refusal(status: int, message: str) -> Content:
    kind = "invalid_request_error" if status < 500 else "api_error"
    return {"type": "error", "error": {"type": kind, "message": message}}


def _gemini_refusal(status: int, message: str) -> Content:
    kind = "INVALID_ARGUMENT" if status < 500 else "INTERNAL"
    return {"error": {"code": status, "message": message, "status": kind}}


CHAT_COMPLETIONS: Final = Protocol(
    path="/v1/chat/completions",
    id_prefix="chatcmpl-",
    conversation=completions.conversation,
    expects="a JSON object with `model` and a list of `messages`",
    document=_chat_document,
    events=_chat_events,
    named=False,
    last="[DONE]",
    refusal=_openai_refusal,
)
RESPONSES: Final = Protocol(
    path="/v1/responses",
    id_prefix="resp_",
    conversation=responses.conversation,
    expects="a JSON object with `model` and `input`, a text or a list of items",
    document=_response_document,
    events=_response_events,
    named=True,
    last=None,
    refusal=_openai_refusal,
)
ANTHROPIC_MESSAGES: Final = Protocol(
    path="/v1/messages",
    id_prefix="msg_",
    conversation=anthropic_messages.conversation,
    expects="a JSON object with `model` and a list of `messages`",
    document=_message_document,
    events=_message_events,
    named=True,
    last=None,
    refusal=_anthropic_refusal,
)
GEMINI: Final = Protocol(
    path=None,
    id_prefix="",
    conversation=gemini.conversation,
    expects="a JSON object with a list of `contents`",
    document=_gemini_document,
    events=_gemini_events,
    named=False,
    last=None,
    refusal=_gemini_refusal,
)

_BY_PATH: Final = {protocol.path: protocol for protocol in (CHAT_COMPLETIONS, RESPONSES, ANTHROPIC_MESSAGES)}


def spoken_at(path: str) -> tuple[Protocol, Content] | None:
    """Return the protocol of a request's path, and the fields in the path; None for an unknown path."""
    if path in _BY_PATH:
        return _BY_PATH[path], {}
    said = gemini.request_in_path(path)
    return None if said is None else (GEMINI, said)
