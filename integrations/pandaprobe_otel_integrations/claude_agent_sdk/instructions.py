"""System prompts, which the CLI does not report.

The main agent's prompt is in the options; a sub-agent's prompt is in its definition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._other_members import parameters, rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._shape import Object, obj, string

_SETTINGS: Final = (
    "max_turns",
    "max_budget_usd",
    "task_budget",
    "max_thinking_tokens",
    "thinking",
    "effort",
    "output_format",
    "fallback_model",
    "betas",
    "allowed_tools",
    "disallowed_tools",
    "skills",
)
"""Options that affect the answer; all others determine where and how the program runs."""
_TOLD: Final = frozenset({"prompt"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Instructions:
    """The instructions that the app has given to its agents."""

    main: list[Part] = field(default_factory=list[Part])
    settings: Content = field(default_factory=dict[str, Any])
    """Other settings of the main agent that affect its answers."""
    of_sub_agents: Mapping[str, list[Part]] = field(default_factory=dict[str, list[Part]])
    """The instructions of sub-agents, by their names in the app."""

    def of(self, name: str, *, is_main: bool) -> list[Part]:
        """Return the instructions of the agent with this name."""
        return self.main if is_main else self.of_sub_agents.get(name, [])


def instructions_of(query: Any) -> Instructions:
    """Return the instructions of a new connection.

    Its transport has the options, unless the app brought its own transport.
    """
    options: Any = getattr(query.transport, "_options", None)
    agents = {name: obj(definition) for name, definition in obj(getattr(query, "_agents", None)).items()}
    return Instructions(
        main=_parts(getattr(options, "system_prompt", None)),
        settings=_settings(options, agents),
        of_sub_agents={name: _parts(definition.get("prompt")) for name, definition in agents.items()},
    )


def _settings(options: Any, agents: Mapping[str, Object]) -> Content:
    told = {name: getattr(options, name, None) for name in _SETTINGS}
    described = {name: rest(definition, _TOLD) for name, definition in agents.items()}
    return parameters({**told, "agents": described}, frozenset())


def _parts(prompt: Any) -> list[Part]:
    """Return the texts of a system prompt: a text, the program's own prompt with an addition, or a file."""
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
