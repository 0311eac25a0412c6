"""OpenAI's protocols, which Azure, Mistral, Groq, Together and many others use: chat, Responses, embeddings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from pandaprobe_otel.replay.protocols.parsed_request import Asked, by_name, fields_of, model_of

_PATH: Final = re.compile(r"/(chat/completions|completions|responses|embeddings)$")
_DEPLOYMENT: Final = re.compile(r"/deployments/([^/]+)/")
_OPERATIONS: Final = {"chat/completions": "chat", "completions": "completion"}


def read(path: str, body: Mapping[str, Any]) -> Asked | None:
    """Return the request; None if it has another protocol."""
    found = _PATH.search(path)
    if found is None:
        return None
    operation = _OPERATIONS.get(found[1], found[1])
    fields = fields_of(body)
    for name in ("tools", "functions"):
        if name in fields:
            fields[name] = by_name(fields[name])
        if fields.get(name) == {}:
            del fields[name]
    if operation == "responses" and isinstance(fields.get("input"), str):
        fields["input"] = [{"role": "user", "content": fields["input"]}]
    deployment = _DEPLOYMENT.search(path)
    turns = {"chat": "messages", "responses": "input"}.get(operation)
    model = model_of(body, deployment[1] if deployment else None)
    return Asked(protocol="openai", operation=operation, model=model, body=fields, turns=turns)
