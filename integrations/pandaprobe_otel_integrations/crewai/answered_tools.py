"""Tools that a recording answers, whether the agent calls them through the model's API or in text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel_integrations._answered_tools import asked, read_json
from pandaprobe_otel_integrations._patching import Undoable, patch

TOOLS: Final = "crewai.tools.base_tool"
STRUCTURED_TOOLS: Final = "crewai.tools.structured_tool"


def hook_tools(module: ModuleType) -> Iterable[Undoable]:
    """Hook `crewai.tools.base_tool`."""
    for owner, method, function in (
        (module.BaseTool, "run", "_run"),
        (module.BaseTool, "arun", "_arun"),
        (module.Tool, "run", "func"),
        (module.Tool, "arun", "_arun"),
    ):
        yield patch(owner, method, asked(function, _named))


def hook_structured_tools(module: ModuleType) -> Iterable[Undoable]:
    """Hook `crewai.tools.structured_tool`."""
    for method in ("invoke", "ainvoke"):
        yield patch(module.CrewStructuredTool, method, asked("func", _given))


def _named(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Mapping[str, Any]:
    return {**({"args": list(args)} if args else {}), **kwargs}


def _given(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Mapping[str, Any]:
    return read_json(args[0] if args else kwargs.get("input"))
