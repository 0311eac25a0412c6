"""Anthropic's messages, sent to Anthropic directly or through Vertex AI. Bedrock wraps them differently."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from pandaprobe_otel.replay.protocols.parsed_request import Asked, by_name, fields_of, model_of

_PATH: Final = re.compile(r"/v1/(messages|messages/count_tokens|complete)$")
_VERTEX: Final = re.compile(r"/publishers/anthropic/models/([^/:]+):(rawPredict|streamRawPredict)$")


def read(path: str, body: Mapping[str, Any]) -> Asked | None:
    """Return the request; None if it has another protocol."""
    vertex = _VERTEX.search(path)
    if vertex is not None:
        return asked(body, operation=vertex[2], model=vertex[1])
    found = _PATH.search(path)
    return None if found is None else asked(body, operation=found[1], model=model_of(body))


def asked(body: Mapping[str, Any], *, operation: str, model: str | None, protocol: str = "anthropic") -> Asked:
    """Return a request whose body is one of Anthropic's."""
    fields = fields_of(body)
    if "tools" in fields:
        fields["tools"] = by_name(fields["tools"])
    return Asked(protocol=protocol, operation=operation, model=model, body=fields, turns="messages")
