"""ADK's spans in the app's own tracer provider, if that is not OpenTelemetry's global one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Self

from opentelemetry.trace import get_tracer

from .span_hooks import SCOPE


@dataclass(frozen=True, slots=True, kw_only=True)
class TracerSwap:
    """A replacement of ADK's tracer in all modules that hold it, including modules that are loaded later."""

    original: Any
    replacement: Any

    @classmethod
    def made(cls, module: ModuleType, provider: Any) -> Self:
        """Replace ADK's tracer by one of `provider`. Raises AttributeError if the module has none."""
        original: Any = module.__dict__.get("tracer")
        if original is None:
            raise AttributeError(f"{module.__name__} has no tracer")
        swap = cls(original=original, replacement=get_tracer(SCOPE, tracer_provider=provider))
        for each in _holding(original):
            each.__dict__["tracer"] = swap.replacement
        return swap

    def undo(self) -> None:
        """Restore ADK's own tracer in every module that holds ours."""
        for each in _holding(self.replacement):
            each.__dict__["tracer"] = self.original


def _holding(tracer: Any) -> Iterator[ModuleType]:
    for name, module in [*sys.modules.items()]:
        if name.startswith("google.adk") and vars(module).get("tracer") is tracer:
            yield module
