"""System prompts: of the main agent in the options, of each sub-agent in its definition. The CLI tells neither."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._shape import obj, string


@dataclass(frozen=True, slots=True, kw_only=True)
class Instructions:
    """What the app has told its agents to be."""

    main: list[Part] = field(default_factory=list[Part])
    of_sub_agents: Mapping[str, list[Part]] = field(default_factory=dict[str, list[Part]])
    """By the names that the app has given them."""

    def of(self, name: str, *, is_main: bool) -> list[Part]:
        """Those of the agent of this name."""
        return self.main if is_main else self.of_sub_agents.get(name, [])


def instructions_of(query: Any) -> Instructions:
    """Those of a connection that was just made; its transport has the options, unless the app brought its own."""
    options: Any = getattr(query.transport, "_options", None)
    agents = {name: obj(definition) for name, definition in obj(getattr(query, "_agents", None)).items()}
    return Instructions(
        main=_parts(getattr(options, "system_prompt", None)),
        of_sub_agents={name: _parts(definition.get("prompt")) for name, definition in agents.items()},
    )


def _parts(prompt: Any) -> list[Part]:
    """A text, or an object: the program's own prompt with something after it, a text, or a file."""
    told = obj(prompt)
    preset, path = string(told.get("preset")), string(told.get("path"))
    texts = [
        string(prompt),
        f"[the program's own: {preset}]" if preset is not None else None,
        string(told.get("append")),
        string(told.get("prompt")),
        f"[the file {path}]" if path is not None else None,
    ]
    return [parts.text(text) for text in texts if text is not None]
