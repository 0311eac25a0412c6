"""A request to a service, as its protocol reads it: the values that each module of this package returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from pandaprobe_otel.mapping.exact_types import type_of

NAMES_THE_CALLER: Final = frozenset(
    {
        *("user", "metadata", "store", "prompt_cache_key", "prompt_cache_retention", "safety_identifier"),
        *("service_tier", "stream_options"),
    }
)
"""Fields that tell a service who asks, what to keep and how to deliver: no answer depends on them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request.

    Attributes:
        body: Its fields, without those that decide no answer; tools are in `tools`, by their name.
        turns: The field whose items are compared one by one: the messages of a conversation.
        data: Whether nothing is known of the fields, so that no `id` among them is taken for one that is made up.
    """

    protocol: str
    operation: str
    model: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict[str, Any])
    turns: str | None = None
    data: bool = False


def fields_of(body: Mapping[str, Any], ignored: frozenset[str] = NAMES_THE_CALLER) -> dict[str, Any]:
    """Return the fields of a body that decide its answer, without those that say what holds anyway."""
    return {
        name: value
        for name, value in body.items()
        if name not in ignored and name != "model" and value is not None and not (name == "stream" and value is False)
    }


def model_of(body: Mapping[str, Any], otherwise: str | None = None) -> str | None:
    """Return the model that a body names."""
    model = body.get("model")
    return model if isinstance(model, str) else otherwise


def by_name(tools: Any) -> Any:
    """Return tools by their name: their order decides nothing. What is no list of tools is returned as it is."""
    if type_of(tools) is not list:
        return tools
    named: dict[str, Any] = {}
    for tool in cast("list[Any]", tools):
        for name, definition in _defined(tool):
            number, label = 1, name
            while label in named:
                number += 1
                label = f"{name} #{number}"
            named[label] = definition
    return named


def _defined(tool: Any) -> list[tuple[str, Any]]:
    if type_of(tool) is not dict:
        return [(str(tool), tool)]
    found = cast("dict[str, Any]", tool)
    declared = found.get("functionDeclarations") or found.get("function_declarations")
    if type_of(declared) is list:  # Gemini: several in one
        return [one for declaration in cast("list[Any]", declared) for one in _defined(declaration)]
    for wrapper in ("function", "toolSpec"):  # OpenAI's chat completions, Cohere and Ollama; Bedrock
        inner = found.get(wrapper)
        if type_of(inner) is dict:
            return _defined(inner)
    name = found.get("name") or found.get("server_label") or found.get("type") or next(iter(found), "tool")
    return [(str(name), {key: value for key, value in found.items() if key != "name" or value != name})]
