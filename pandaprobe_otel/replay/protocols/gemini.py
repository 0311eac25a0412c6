"""Gemini's protocol, of the Gemini API and of Vertex AI. The path names the model and the operation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from pandaprobe_otel.replay.protocols.parsed_request import NAMES_THE_CALLER, Asked, by_name, fields_of

_PATH: Final = re.compile(r"/((?:models|tunedModels|endpoints)/[^/:]+):(\w+)$")
_IGNORED: Final = NAMES_THE_CALLER | {"labels"}


def read(path: str, body: Mapping[str, Any]) -> Asked | None:
    """Return the request; None if it has another protocol."""
    found = _PATH.search(path)
    if found is None:
        return None
    fields = fields_of(body, _IGNORED)
    if "tools" in fields:
        fields["tools"] = by_name(fields["tools"])
    model = found[1].removeprefix("models/")
    return Asked(protocol="gemini", operation=found[2], model=model, body=fields, turns="contents")
