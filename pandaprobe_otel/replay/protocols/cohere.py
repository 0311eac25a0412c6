"""Cohere's own protocol: chat, embeddings, ranking."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from pandaprobe_otel.replay.protocols.parsed_request import Asked, by_name, fields_of, model_of

_PATH: Final = re.compile(r"/v[12]/(chat|generate|embed|rerank)$")


def read(path: str, body: Mapping[str, Any]) -> Asked | None:
    """Return the request; None if it has another protocol."""
    found = _PATH.search(path)
    if found is None:
        return None
    fields = fields_of(body)
    if "tools" in fields:
        fields["tools"] = by_name(fields["tools"])
    turns = "messages" if "messages" in fields else "chat_history"
    return Asked(protocol="cohere", operation=found[1], model=model_of(body), body=fields, turns=turns)
