"""Bedrock's Converse and InvokeModel. The path names the model, and an InvokeModel body has the form of the model's
vendor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import unquote

from pandaprobe_otel.replay.protocols import anthropic
from pandaprobe_otel.replay.protocols.parsed_request import NAMES_THE_CALLER, Asked, by_name, fields_of

_PATH: Final = re.compile(r"/model/(.+)/(converse|converse-stream|invoke|invoke-with-response-stream)$")
_IGNORED: Final = NAMES_THE_CALLER | {"requestMetadata"}


def read(path: str, body: Mapping[str, Any]) -> Asked | None:
    """Return the request; None if it has another protocol."""
    found = _PATH.search(path)
    if found is None:
        return None
    model, operation = unquote(found[1]), found[2]
    if operation.startswith("invoke") and "anthropic_version" in body:
        return anthropic.asked(body, operation=operation, model=model, protocol="bedrock")
    fields = fields_of(body, _IGNORED)
    config = fields.get("toolConfig")
    if isinstance(config, dict):
        named = cast("dict[str, Any]", config)
        fields["toolConfig"] = {**named, "tools": by_name(named.get("tools"))}
    return Asked(protocol="bedrock", operation=operation, model=model, body=fields, turns="messages")
