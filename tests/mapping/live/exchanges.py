"""Exchanges between a client and the scripted model, in the formats of several model providers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]

CITY, WEATHER = "Lisbon", "windy, 17 degrees"
ANSWER = "It is windy in Lisbon, 17 degrees."
PICTURE = "Which city is this?"
"""The question that comes with a picture."""
REFUSED = "The model is busy, try again"


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one answer by the semantic conventions: cached tokens count as input, thoughts as output."""

    prompt: int
    completion: int
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer.

    `roles` has the first letter of each request message's role (system, user, assistant, tool), and `question` is the
    user's last text. The answer is `text`, tool calls in `calls`, or `error`.
    """

    model: str
    roles: str
    question: str
    text: str | None = None
    calls: tuple[tuple[str, Json], ...] = ()
    usage: Usage | None = None
    error: str | None = None
    streamed: bool = False


def tools_of(body: Json) -> dict[str, Json]:
    """Return the tools that a request to any API offers: name -> JSON Schema of the arguments."""
    tools: dict[str, Json] = {}
    for tool in body.get("tools") or ():
        for declared in tool.get("functionDeclarations") or [tool.get("function") or tool]:
            if "name" in declared:
                schema = (
                    declared.get("parameters") or declared.get("input_schema") or declared.get("parameters_json_schema")
                )
                tools[declared["name"]] = schema or {}
    return tools
