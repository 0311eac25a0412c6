"""The data that a call is rebuilt from, beside its messages and attributes: kept by `init(replayable=True)` alone.

The request without its conversation, and the answer as the service gave it: the order of its parts, the exact text of
arguments, ids, signatures, why it stopped in the service's own words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pandaprobe_otel.mapping.attributes import REPLAY

from ._endpoint import Body
from ._json import to_json
from ._other_members import rest

MAX_CHARS: Final = 64_000
"""Of the attribute; below the bound of what is sent of a span, so that nothing is cut within it."""
_CONVERSATION: Final = frozenset(
    {
        *("messages", "input", "contents", "system", "instructions", "systemInstruction", "system_instruction"),
        *("prompt", "model", "stream", "tools", "toolConfig", "functions", "modelId"),
    }
)
"""Members of requests that messages and attributes tell."""
_OF_THE_CLIENT: Final = frozenset({"ResponseMetadata", "stream"})


def asked(body: Body) -> Mapping[str, Any]:
    """Return the members of a request that are kept, without credentials."""
    return rest(body, _CONVERSATION)


def kept(request: Mapping[str, Any], answer: Body) -> dict[str, str]:
    """Return the attribute; of an answer that is too long a mark instead."""
    told = {name: value for name, value in answer.items() if name not in _OF_THE_CLIENT}
    text = to_json({"request": request, "answer": told})
    if len(text) > MAX_CHARS:
        text = to_json({"left_out": f"{len(text)} characters, more than {MAX_CHARS}"})
    return {REPLAY: text}
