"""Strands' tracer, one per process."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

_INSTANCE: Final = "_tracer_instance"
_WITH_TOOLS: Final = "_include_tool_definitions"
"""The setting for `gen_ai_tool_definitions` in OTEL_SEMCONV_STABILITY_OPT_IN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracerChange:
    """The changes to Strands' tracers. `provider` is None for OpenTelemetry's global provider."""

    module: ModuleType
    provider: Any

    def begin(self) -> None:
        """Change the existing tracer, if there is one. Raises AttributeError if Strands has no place for it."""
        present: Any = self.module.__dict__.get(_INSTANCE, self)
        if present is self:
            raise AttributeError(f"{self.module.__name__} has no {_INSTANCE}")
        if present is not None:
            self.apply(present)

    def apply(self, tracer: Any) -> None:
        """Make the tracer write definitions of tools, to the app's chosen provider."""
        if hasattr(tracer, _WITH_TOOLS):
            setattr(tracer, _WITH_TOOLS, True)
        if self.provider is not None:
            tracer.tracer_provider = self.provider
            tracer.tracer = self.provider.get_tracer(tracer.service_name)

    def undo(self) -> None:
        """Let the next agent make a new tracer; existing agents keep theirs."""
        setattr(self.module, _INSTANCE, None)
