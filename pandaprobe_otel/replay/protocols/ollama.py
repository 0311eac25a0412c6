"""Ollama's own protocol: chat, generate, embeddings. It streams unless a request has `"stream": false`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from pandaprobe_otel.replay.protocols.parsed_request import NAMES_THE_CALLER, Asked, by_name, fields_of, model_of

_PATH: Final = re.compile(r"/api/(chat|generate|embed|embeddings)$")
_IGNORED: Final = NAMES_THE_CALLER | {"keep_alive", "stream"}


def read(path: str, body: Mapping[str, Any]) -> Asked | None:
    """Return the request; None if it has another protocol."""
    found = _PATH.search(path)
    if found is None:
        return None
    fields = fields_of(body, _IGNORED)
    if body.get("stream") is not False and found[1] in ("chat", "generate"):
        fields["stream"] = True
    if "tools" in fields:
        fields["tools"] = by_name(fields["tools"])
        if not fields["tools"]:
            del fields["tools"]
    return Asked(protocol="ollama", operation=found[1], model=model_of(body), body=fields, turns="messages")
