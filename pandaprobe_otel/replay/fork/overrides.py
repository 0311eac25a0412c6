"""Another model or system prompt in the requests that a fork sends. Played calls stay unchanged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.mapping import exact_json
from pandaprobe_otel.protocols.encoding import dump_bytes
from pandaprobe_otel.replay.interactions import RecordedRequest
from pandaprobe_otel.replay.request_keys import ModelRequest, RequestReader
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
_FIELDS: Final = ("system", "instructions", "systemInstruction")
_FIELD_OF: Final[Mapping[tuple[str, str], str]] = {
    ("anthropic", ""): "system",
    ("gemini", ""): "systemInstruction",
    ("openai", "responses"): "instructions",
    ("bedrock", ""): "system",
}
"""Field of the system prompt, by protocol and operation. In others, the prompt is the first message."""
_SYSTEM_ROLES: Final = frozenset({"system", "developer"})
_SIGNED: Final = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """Changes to the requests of a fork. None: the program's own value.

    Attributes:
        like: The recorded request at the cut. Only requests with its model get the new model, and only those with its
            prompt get the new prompt, since a program may have several of each.
    """

    model: str | None = None
    prompt: str | None = None
    like: RecordedRequest | None = None

    def applied(self, request: RecordedRequest) -> RecordedRequest | None:
        """Return the request to send in place of the program's; None to send that unchanged.

        Raises RecordingError if it cannot be changed: it is signed, or the new model uses another protocol.
        """
        if self.like is None or (self.model is None and self.prompt is None):
            return None
        read, like = map(RequestReader().read, (request, self.like))
        body = object_in(_json_of(request.body))
        has_model = self.model is not None and read.model == like.model
        has_prompt = self.prompt is not None and prompt_of(read) == prompt_of(like)
        if body is None or read.protocol != like.protocol or not (has_model or has_prompt):
            return None
        if request.headers.get("authorization", "").startswith(_SIGNED):
            raise RecordingError("A request to AWS is signed and cannot be changed here: change the program.")
        if has_prompt:
            body = _with_prompt(read, body, str(self.prompt))
        if has_model:
            request, body = _with_model(request, body, str(self.model), read.protocol)
        return replace(request, body=dump_bytes(body))


def prompt_of(request: ModelRequest) -> Any:
    """Return the system prompt of a request: a text or its parts; None without one."""
    for name in _FIELDS:
        if name in request.fields:
            return request.fields[name]
    turns = list_in(request.fields.get("messages") or request.fields.get("input")) or ()
    first = object_in(turns[0]) if turns else None
    return first.get("content") if first is not None and first.get("role") in _SYSTEM_ROLES else None


def _json_of(body: bytes) -> Any:
    try:
        return exact_json.loads(body)
    except ValueError:
        return None


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


def _with_prompt(request: ModelRequest, body: Body, prompt: str) -> Body:
    """Return a body with another system prompt.

    The prompt replaces its field, or else the first message, or else is added as a field.
    """
    name: str | None = next((name for name in _FIELDS if name in body), None)
    turns_name = "input" if request.operation == "responses" else "messages"
    turns = list_in(body.get(turns_name)) or ()
    first = object_in(turns[0]) if turns else None
    if name is None and first is not None and first.get("role") in _SYSTEM_ROLES:
        return {**body, turns_name: [{**first, "content": prompt}, *turns[1:]]}
    name = name or _FIELD_OF.get((request.protocol, request.operation)) or _FIELD_OF.get((request.protocol, ""))
    if name is not None:
        return {**body, name: _as_system(request, prompt)}
    return {**body, turns_name: [{"role": "system", "content": prompt}, *turns]}


def _as_system(request: ModelRequest, prompt: str) -> Any:
    """Return a prompt in the form of its field."""
    if request.protocol == "gemini":
        return {"parts": [{"text": prompt}]}
    return [{"text": prompt}] if request.operation.startswith("converse") else prompt
