"""The official SDK's import path in front of this library: `import pandaprobe` after a migration."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from pandaprobe_otel import *  # noqa: F403

_MODULES = {
    "wrappers": "pandaprobe_otel",
    "integrations": "pandaprobe_otel_integrations",
    **{
        f"integrations.{name}": f"pandaprobe_otel_integrations.{name}"
        for name in ("claude_agent_sdk", "crewai", "google_adk", "langchain", "openai_agents")
    },
    "integrations.deepagents": "pandaprobe_otel_integrations.langchain",
    "integrations.langgraph": "pandaprobe_otel_integrations.langchain",
}
"""Modules of the official SDK, and those in which this library has the same names."""


class _Renamed(ModuleType):
    """A module of the official SDK; its names are looked up in ours when they are used."""

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(_MODULES[self.__name__.partition(".")[2]]), name)


sys.modules.update({f"{__name__}.{name}": _Renamed(f"{__name__}.{name}") for name in _MODULES})
