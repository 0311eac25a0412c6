"""Model calls of a trace as they were on the wire: requests and answers, rebuilt from the spans.

A trace records neither headers nor the exact form of messages. So a request has the messages in the form of the trace,
whatever its protocol, and a test compares only the recorded parts (`replay/compared_requests.py`). An answer is rebuilt
as the bytes that the service sent, and may be an HTTP error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, cast

from pandaprobe_otel.mapping.attributes import CANCELLED, PARTIAL
from pandaprobe_otel.mapping.outcomes import outcome_in
from pandaprobe_otel.protocols.anthropic import ANTHROPIC
from pandaprobe_otel.protocols.bedrock import BEDROCK
from pandaprobe_otel.protocols.chat import CHAT, MISTRAL
from pandaprobe_otel.protocols.cohere import COHERE
from pandaprobe_otel.protocols.conversation import Choice, Message, ModelAnswer, Tokens, mapping, requested_tools
from pandaprobe_otel.protocols.encoding import JSON, json_bytes
from pandaprobe_otel.protocols.gemini import GEMINI
from pandaprobe_otel.protocols.ollama import OLLAMA
from pandaprobe_otel.protocols.protocol import Protocol
from pandaprobe_otel.protocols.responses import RESPONSES
from pandaprobe_otel.replay.capture.stored_trace import CUT, CannotCapture, check_whole, texts_in
from pandaprobe_otel.replay.interactions import RecordedAnswer, RecordedRequest

Span = Mapping[str, Any]
"""An LLM span of a stored trace."""

_BY_API: Final = {"chat_completions": CHAT, "responses": RESPONSES}
_BY_ID: Final = (("chatcmpl-", CHAT), ("resp_", RESPONSES))
_BY_PROVIDER: Final[Mapping[str, Protocol]] = {
    "anthropic": ANTHROPIC,
    "gcp.gemini": GEMINI,
    "gcp.vertex_ai": GEMINI,
    "gcp.gen_ai": GEMINI,
    "aws.bedrock": BEDROCK,
    "ollama": OLLAMA,
    "cohere": COHERE,
    **dict.fromkeys(
        (
            "openai", "azure.ai.openai", "azure.ai.inference", "groq", "together_ai", "deepseek", "x_ai",
            "perplexity", "openrouter", "fireworks_ai", "cerebras", "sambanova", "nvidia", "moonshot_ai",
        ),
        CHAT,
    ),
}  # fmt: skip
"""Protocols by the name of a provider: litellm and frameworks use each provider's own protocol."""


def protocol_of(span: Span) -> Protocol | None:
    """Return the protocol of an LLM span's call; None if it is not supported."""
    metadata = mapping(span.get("metadata"))
    provider = str(metadata.get("provider") or "")
    if provider == "mistral_ai":
        return MISTRAL
    if (api := metadata.get("api_type")) is not None:
        return _BY_API.get(str(api))
    response_id = str(metadata.get("response_id") or "")
    for prefix, protocol in _BY_ID:
        if response_id.startswith(prefix):
            return protocol
    return _BY_PROVIDER.get(provider)


def is_streamed(span: Span) -> bool:
    """Return whether the answer of a call was streamed."""
    metadata = mapping(span.get("metadata"))
    parameters = mapping(span.get("model_parameters"))
    return bool(metadata.get("stream") or parameters.get("stream"))


# -- requests ----------------------------------------------------------------------------------------------------------


def request_of(span: Span, protocol: Protocol) -> RecordedRequest:
    """Return the request of a call: its messages and tools as in the trace. Raises CannotCapture without messages."""
    metadata = mapping(span.get("metadata"))
    model = str(metadata.get("request_model") or span.get("model") or "")
    is_stream = is_streamed(span)
    body: dict[str, Any] = {
        **mapping(span.get("model_parameters")),
        **mapping(mapping(metadata.get("replay")).get("request")),
        "messages": _messages(span),
    }
    if tools := metadata.get("tools"):
        body["tools"] = tools
    if not protocol.model_in_path:
        body |= {"model": model, "stream": is_stream}
    host = _host(metadata) or protocol.host
    return RecordedRequest(
        method="POST",
        uri=f"{host}{protocol.base_path}{protocol.path(model, is_stream=is_stream)}",
        headers={"content-type": JSON},
        body=json_bytes(body),
    )


def _messages(span: Span) -> list[Message]:
    asked: Any = span.get("input")
    if isinstance(asked, str) and asked:
        return [{"role": "user", "content": asked}]
    found: Any = mapping(asked).get("messages")
    if not isinstance(found, list) or not found:
        raise CannotCapture("it has no messages: their content was not captured, or the call is not a chat")
    return [mapping(message) for message in cast("Iterable[Any]", found)]


def _host(metadata: Mapping[str, Any]) -> str | None:
    address = metadata.get("server.address")
    if not address:
        return None
    scheme = "http" if address in ("127.0.0.1", "localhost", "::1") else "https"
    port = metadata.get("server.port")
    return f"{scheme}://{address}{f':{port}' if port else ''}"


# -- answers -----------------------------------------------------------------------------------------------------------

_TEXTS: Final = frozenset({"text", "output_text", "refusal"})
_STATUS: Final = re.compile(r"(?:HTTP |Error code: |status[ _]code:? ?|^)([45]\d\d)\b")
_ERROR_STATUS: Final = {
    "RateLimitError": 429,
    "AuthenticationError": 401,
    "PermissionDeniedError": 403,
    "NotFoundError": 404,
    "BadRequestError": 400,
    "UnprocessableEntityError": 422,
    "ConflictError": 409,
    "InternalServerError": 500,
    "OverloadedError": 529,
    "ThrottlingException": 429,
    "ValidationException": 400,
    "AccessDeniedException": 403,
}
_NO_RETRY: Final = {"x-should-retry": "false", "retry-after-ms": "1"}
"""Headers that prevent a retry. A span has only the last answer of a call, so the client must not try again."""


def rebuilt(span: Span, protocol: Protocol) -> RecordedAnswer:
    """Return the answer of a call as the bytes of its protocol.

    Raises CannotCapture if the span does not have the whole answer.
    """
    metadata = mapping(span.get("metadata"))
    if span.get("status") == "ERROR" and not mapping(metadata.get("replay")).get("answer"):
        return _failed(span, protocol)
    kept = _kept_answer(metadata)
    check_whole(kept if kept is not None else span.get("output"), "the answer")
    answer = _answer(span, metadata, is_kept=kept is not None)
    # The saved answer of a call through litellm may have the form of another service.
    whole = dict(kept) if kept is not None and protocol.member in kept else protocol.write_answer(answer)
    if is_streamed(span):
        return _streamed(span, protocol, whole)
    whole.pop("ResponseMetadata", None)
    return RecordedAnswer(status=200, reason="OK", headers={"content-type": JSON}, body=json_bytes(whole))


def _kept_answer(metadata: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the answer that `init(replayable=True)` has saved; None if there is none or if it was cut."""
    found = mapping(mapping(metadata.get("replay")).get("answer"))
    return found if found and not any(CUT.search(text) for text in texts_in(found)) else None


def _answer(span: Span, metadata: Mapping[str, Any], *, is_kept: bool) -> ModelAnswer:
    reasons: Sequence[Any] = metadata.get("finish_reasons") or ()
    messages = _answer_messages(span)
    return ModelAnswer(
        response_id=str(metadata.get("response_id") or f"rebuilt-{str(span.get('span_id'))[-12:]}"),
        model=str(span.get("model") or metadata.get("request_model") or ""),
        choices=tuple(
            _choice(message, reasons[at] if at < len(reasons) else None, is_kept=is_kept)
            for at, message in enumerate(messages or [{}] if reasons or is_kept else messages)
        ),
        reasoning=metadata.get("reasoning_summary"),
        tokens=_tokens(span.get("token_usage")),
        created=int(datetime.fromisoformat(str(span["started_at"])).timestamp()),
    )


def _answer_messages(span: Span) -> list[Message]:
    output: Any = span.get("output")
    if isinstance(output, str) and output:
        return [{"role": "assistant", "content": output}]
    found: Any = mapping(output).get("messages")
    if not isinstance(found, list):
        return []
    return [message for message in map(mapping, cast("Iterable[Any]", found)) if message.get("role") == "assistant"]


def _choice(message: Message, reason: Any, *, is_kept: bool) -> Choice:
    content = message.get("content")
    return Choice(
        text=(content if isinstance(content, str) else None) if is_kept else _text_of_content(content),
        calls=tuple(requested_tools(message)),
        finish_reason=str(reason) if reason else None,
    )


def _text_of_content(content: Any) -> str | None:
    """Return the text of a message's content; None without one. Raises CannotCapture for content other than text."""
    if content is None or isinstance(content, str):
        return content
    texts: list[str] = []
    for part in cast("Iterable[Any]", content):
        kind = mapping(part).get("type")
        if kind not in _TEXTS:
            raise CannotCapture(f"the answer has content other than text ({kind or type(part).__name__})")
        texts.append(str(part.get("text") or part.get("refusal") or ""))
    return "".join(texts)


def _tokens(usage: Any) -> Tokens | None:
    counts = mapping(usage)
    if not counts:
        return None

    def count(name: str) -> int:
        value = counts.get(name)
        return value if isinstance(value, int) else 0

    return Tokens(
        prompt=count("prompt_tokens"),
        completion=count("completion_tokens"),
        cache_read=count("cache_read_tokens"),
        cache_write=count("cache_creation_tokens"),
        reasoning=count("reasoning_tokens"),
    )


def _streamed(span: Span, protocol: Protocol, whole: Mapping[str, Any]) -> RecordedAnswer:
    chunks = list(protocol.write_stream(whole))
    is_left = outcome_in(span) in (PARTIAL, CANCELLED)
    if is_left:  # The app never read the end of the stream.
        chunks = chunks[:-1]
    return RecordedAnswer(
        status=200,
        reason="OK",
        headers={"content-type": protocol.streamed_as},
        body=b"".join(chunks),
        end="left" if is_left else "read",
    )


def _failed(span: Span, protocol: Protocol) -> RecordedAnswer:
    text = str(span.get("error") or "")
    kind = str(mapping(span.get("metadata")).get("error_type") or "")
    name = kind.rpartition(".")[2]
    found = _STATUS.search(text) or _STATUS.search(kind)
    status = int(found[1]) if found else _ERROR_STATUS.get(name)
    if status is None:
        return RecordedAnswer(status=0, end="broken", error=kind or "ConnectionError")
    return RecordedAnswer(
        status=status,
        reason=_phrase(status),
        headers={
            "content-type": JSON,
            **({"x-amzn-errortype": name} if name.endswith("Exception") else _NO_RETRY),
        },
        body=json_bytes(protocol.refusal(status, _message_of_service(text))),
    )


def _message_of_service(text: str) -> str:
    """Return the service's message from the text of a client's exception."""
    text = re.sub(r"^An error occurred \(\w+\) when calling the \w+ operation: ", "", text)
    found = re.search(r"""['"]message['"]: (?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")""", text)
    return (found[1] or found[2] or text) if found else re.sub(r"^HTTP \d+: ", "", text)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
