"""Recorded answer of a model call, rebuilt from its span."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from pandaprobe_otel.mapping.attributes import CANCELLED, PARTIAL
from pandaprobe_otel.mapping.outcomes import outcome_in
from pandaprobe_otel.replay.answers import encoded_bodies
from pandaprobe_otel.replay.answers.model_answer import ModelAnswer, mapping, read_answer
from pandaprobe_otel.replay.answers.protocols import Protocol
from pandaprobe_otel.replay.interactions import RecordedAnswer

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


def is_streamed(span: Mapping[str, Any]) -> bool:
    """Return whether the answer of a call was streamed."""
    metadata = mapping(span.get("metadata"))
    parameters = mapping(span.get("model_parameters"))
    return bool(metadata.get("stream") or parameters.get("stream"))


def rebuilt(span: Mapping[str, Any], protocol: Protocol) -> RecordedAnswer:
    """Return the answer of a call as the bytes of its protocol.

    Raises CannotCapture if the span does not have the whole answer.
    """
    if span.get("status") == "ERROR" and not mapping(mapping(span.get("metadata")).get("replay")).get("answer"):
        return _failed(span, protocol)
    answer = read_answer(span, created=_epoch(span))
    kept = answer.kept
    # The saved answer of a call through litellm may have the form of another service.
    whole = dict(kept) if kept is not None and protocol.member in kept else protocol.document(answer)
    return _streamed(span, protocol, whole) if is_streamed(span) else _in_one(answer, whole)


def _in_one(answer: ModelAnswer, whole: Mapping[str, Any]) -> RecordedAnswer:
    body = {name: value for name, value in whole.items() if name != "ResponseMetadata"}
    return RecordedAnswer(
        status=200, reason="OK", headers={"content-type": encoded_bodies.JSON}, body=encoded_bodies.json_bytes(body)
    )


def _streamed(span: Mapping[str, Any], protocol: Protocol, whole: Mapping[str, Any]) -> RecordedAnswer:
    chunks = list(protocol.chunks(whole))
    is_left = outcome_in(span) in (PARTIAL, CANCELLED)
    if is_left:  # The app never read the end of the stream.
        chunks = chunks[:-1]
    return RecordedAnswer(
        status=200,
        reason="OK",
        headers={"content-type": protocol.streamed_as},
        body=b"".join(chunks),
        chunks=encoded_bodies.spread(
            map(len, chunks), first_ms=_until_first(span), total_ms=_milliseconds(span, "ended_at")
        ),
        end="left" if is_left else "read",
    )


def _failed(span: Mapping[str, Any], protocol: Protocol) -> RecordedAnswer:
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
            "content-type": encoded_bodies.JSON,
            **({"x-amzn-errortype": name} if name.endswith("Exception") else _NO_RETRY),
        },
        body=encoded_bodies.json_bytes(protocol.refusal(status, _message_of_service(text))),
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


def _epoch(span: Mapping[str, Any]) -> int:
    return int(datetime.fromisoformat(str(span["started_at"])).timestamp())


def _until_first(span: Mapping[str, Any]) -> float:
    return _milliseconds(span, "completion_start_time")


def _milliseconds(span: Mapping[str, Any], member: str) -> float:
    if not span.get(member):
        return 0.0
    since = datetime.fromisoformat(str(span[member])) - datetime.fromisoformat(str(span["started_at"]))
    return max(since.total_seconds() * 1000, 0.0)
