"""What agents are told to be: the CLI is given that when it starts, and says nothing of it."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._shape import obj, string

_TEXTS: Final = ("append", "prompt")


class Instructions:
    """Those of the main agent and of the sub-agents that the app defines, by the options that the CLI is run with."""

    def __init__(self, transport: Any) -> None:
        self._options: Any = getattr(transport, "_options", None)

    def of_main(self) -> list[Part]:
        """A text, or what the app adds to Claude Code's own prompt, whose name is told then."""
        given = getattr(self._options, "system_prompt", None)
        if isinstance(given, str):
            return _said(given)
        told = obj(given)
        said = [*_said(told.get("append")), *_said(told.get("prompt"))]
        if told.get("type") in (None, "custom"):
            return said
        return [{key: value for key, value in told.items() if key not in _TEXTS and value is not None}, *said]

    def of_sub_agent(self, name: str) -> list[Part]:
        """The prompt of its definition."""
        return _said(getattr(obj(getattr(self._options, "agents", None)).get(name), "prompt", None))


def _said(text: Any) -> list[Part]:
    return [parts.text(text)] if string(text) else []
