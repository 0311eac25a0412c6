"""Strands' tracer, of which there is one for the process."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

_INSTANCE: Final = "_tracer_instance"
_WITH_TOOLS: Final = "_include_tool_definitions"
"""The setting of the word `gen_ai_tool_definitions` in OTEL_SEMCONV_STABILITY_OPT_IN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracerChange:
    """The changes to tracers while they are traced. `provider` is None for OpenTelemetry's global one."""

    module: ModuleType
    provider: Any

    def begin(self) -> None:
        """Change the tracer that there is, if an agent has been made before. Raises AttributeError without a place."""
        present: Any = self.module.__dict__.get(_INSTANCE, self)
        if present is self:
            raise AttributeError(f"{self.module.__name__} has no {_INSTANCE}")
        if present is not None:
            self.apply(present)

    def apply(self, tracer: Any) -> None:
        """Let it write definitions of tools, to the provider that the app has chosen."""
        if hasattr(tracer, _WITH_TOOLS):
            setattr(tracer, _WITH_TOOLS, True)
        if self.provider is not None:
            tracer.tracer_provider = self.provider
            tracer.tracer = self.provider.get_tracer(tracer.service_name)

    def undo(self) -> None:
        """Have the next agent make a new one; agents that are there keep theirs."""
        setattr(self.module, _INSTANCE, None)
