"""A request to a service, as parsed by its protocol: the result of each module of this package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from pandaprobe_otel.mapping.values import type_of

NAMES_THE_CALLER: Final = frozenset(
    {
        *("user", "metadata", "store", "prompt_cache_key", "prompt_cache_retention", "safety_identifier"),
        *("service_tier", "stream_options"),
    }
)
"""Fields about the caller, storage and delivery, which do not affect the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A parsed request.

    Attributes:
        body: Its fields, without those that do not affect the answer. `tools` has the tools by name.
        turns: The field whose items are compared one by one: the messages of a conversation.
        data: True if the fields are unknown. Then no `id` among them counts as generated.
    """

    protocol: str
    operation: str
    model: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict[str, Any])
    turns: str | None = None
    data: bool = False


def fields_of(body: Mapping[str, Any], ignored: frozenset[str] = NAMES_THE_CALLER) -> dict[str, Any]:
    """Return the fields of a body that affect its answer, without those that only repeat a default."""
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
    """Return tools by name, since their order does not matter. A value that is not a list of tools is returned
    unchanged.
    """
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
    if type_of(declared) is list:  # Gemini has several tools in one item.
        return [one for declaration in cast("list[Any]", declared) for one in _defined(declaration)]
    for wrapper in ("function", "toolSpec"):  # OpenAI's chat completions, Cohere and Ollama; Bedrock
        inner = found.get(wrapper)
        if type_of(inner) is dict:
            return _defined(inner)
    name = found.get("name") or found.get("server_label") or found.get("type") or next(iter(found), "tool")
    return [(str(name), {key: value for key, value in found.items() if key != "name" or value != name})]
