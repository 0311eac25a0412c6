"""Another model or system prompt in the requests that a fork sends. Played calls stay unchanged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.protocols.encoding import dump_bytes
from pandaprobe_otel.protocols.protocol import ParsedRequest
from pandaprobe_otel.replay.compared_requests import body_in, messages_in, parsed
from pandaprobe_otel.replay.interactions import RecordedRequest
from pandaprobe_otel.traces.json_shapes import list_in, object_in

Body = dict[str, Any]

_OF_MODELS: Final[Mapping[str, re.Pattern[str]]] = {
    "anthropic": re.compile(r"claude-"),
    "gemini": re.compile(r"(gemini|gemma)-"),
    "openai": re.compile(r"(gpt-|chatgpt-|o\d(-|$)|text-embedding-)"),
    "cohere": re.compile(r"(command-|c4ai-)"),
}
"""Prefixes of models that their vendors serve through a protocol of their own."""
_MODEL_IN_PATH: Final = (
    re.compile(r"(?<=/models/)[^/:]+(?=:\w+$)"),  # Gemini, Vertex AI
    re.compile(r"(?<=/model/)[^/]+(?=/[\w-]+$)"),  # Bedrock
    re.compile(r"(?<=/deployments/)[^/]+(?=/)"),  # Azure
)
_PROMPTS: Final = {
    "messages": "system",
    "gemini": "systemInstruction",
    "responses": "instructions",
    "converse": "system",
}
"""Fields of the system prompt, by the names of protocols. In others, the prompt is the first message."""
_SYSTEM_ROLES: Final = frozenset({"system", "developer"})
_SIGNED: Final = "AWS4-HMAC-SHA256"


def overridden(
    request: RecordedRequest, *, like: RecordedRequest | None, model: str | None, prompt: str | None
) -> RecordedRequest | None:
    """Return the request to send in place of the program's; None to send that unchanged.

    Only requests with the model of the recorded request at the cut (`like`) get the new model, and only those with its
    prompt get the new prompt, since a program may have several of each. Raises RecordingError if a request cannot be
    changed: it is signed, or the new model uses another protocol.
    """
    if like is None or (model is None and prompt is None):
        return None
    read, other = map(parsed, (request, like))
    body = object_in(body_in(request))
    has_model = model is not None and read.model == other.model
    has_prompt = prompt is not None and _prompt_of(read) == _prompt_of(other)
    if body is None or read.protocol != other.protocol or not (has_model or has_prompt):
        return None
    if request.headers.get("authorization", "").startswith(_SIGNED):
        raise RecordingError("A request to AWS is signed and cannot be changed here: change the program.")
    if has_prompt:
        body = _with_prompt(read, body, str(prompt))
    if has_model:
        request, body = _with_model(request, body, str(model), read.protocol)
    return replace(request, body=dump_bytes(body))


def _prompt_of(request: ParsedRequest) -> Any:
    """Return the system prompt of a request: a text or its parts; None without one."""
    first, *_ = messages_in(request) or [{"role": None}]
    return first.get("content") if first["role"] in _SYSTEM_ROLES else None


def _check_family(model: str, protocol: str) -> None:
    """Refuse a model of another protocol. Unknown names are accepted."""
    family = next((name for name, pattern in _OF_MODELS.items() if pattern.match(model)), None)
    if family is not None and protocol in _OF_MODELS and family != protocol:
        raise RecordingError(
            f"{model} needs the protocol {family}, but this program uses {protocol}. Change its client."
        )


def _with_model(request: RecordedRequest, body: Body, model: str, protocol: str) -> tuple[RecordedRequest, Body]:
    """Return a request to another model, which is named in the body, in the path, or in both."""
    _check_family(model, protocol)
    url = urlsplit(request.uri)
    path = url.path
    for pattern in _MODEL_IN_PATH:
        path = pattern.sub(quote(model, safe=""), path)
    if "model" in body or path == url.path:
        body = {**body, "model": model}
    return replace(request, uri=urlunsplit(url._replace(path=path))), body


def _with_prompt(request: ParsedRequest, body: Body, prompt: str) -> Body:
    """Return a body with another system prompt: in its field, or in place of the first message, or before it."""
    wire = "" if request.wire is None else request.wire.name
    turns_name = request.turns or "messages"
    turns = list_in(body.get(turns_name)) or ()
    first = object_in(turns[0]) if turns else None
    is_message = first is not None and first.get("role") in _SYSTEM_ROLES
    name = _PROMPTS.get(wire)
    if name is None or (is_message and name not in body):
        message = {**(first or {}), "content": prompt} if is_message else {"role": "system", "content": prompt}
        return {**body, turns_name: [message, *turns[is_message:]]}
    match wire:
        case "gemini":
            return {**body, name: {"parts": [{"text": prompt}]}}
        case "converse":
            return {**body, name: [{"text": prompt}]}
        case _:
            return {**body, name: prompt}
