"""The data from which a call can be rebuilt exactly, kept only with `init(replayable=True)`.

This is the request without its conversation, and the service's original answer: the order of its parts, the exact text
of arguments, ids, signatures, and the service's own finish reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pandaprobe_otel.mapping.attributes import REPLAY

from ._endpoint import Body
from ._json import to_json
from ._other_members import rest

MAX_CHARS: Final = 64_000
"""Largest size of the attribute. It is below the bound of a span's data, so that nothing is cut inside it."""
_CONVERSATION: Final = frozenset(
    {
        *("messages", "input", "contents", "system", "instructions", "systemInstruction", "system_instruction"),
        *("prompt", "model", "stream", "tools", "toolConfig", "functions", "modelId"),
    }
)
"""Members of requests that are recorded in messages and attributes."""
_OF_THE_CLIENT: Final = frozenset({"ResponseMetadata", "stream"})


def asked(body: Body) -> Mapping[str, Any]:
    """Return the members of a request to keep, without credentials."""
    return rest(body, _CONVERSATION)


def kept(request: Mapping[str, Any], answer: Body) -> dict[str, str]:
    """Return the attribute; if the answer is too long, a marker."""
    told = {name: value for name, value in answer.items() if name not in _OF_THE_CLIENT}
    text = to_json({"request": request, "answer": told})
    if len(text) > MAX_CHARS:
        text = to_json({"left_out": f"{len(text)} characters, more than {MAX_CHARS}"})
    return {REPLAY: text}
