"""ADK's spans in the app's own tracer provider, where that is not OpenTelemetry's global one."""

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
    """ADK's modules hold its tracer by a name of their own, those loaded later too."""

    original: Any
    replacement: Any

    @classmethod
    def made(cls, module: ModuleType, provider: Any) -> Self:
        """Put a tracer of `provider` in the place of ADK's. Raises AttributeError when the module has none."""
        original: Any = module.__dict__.get("tracer")
        if original is None:
            raise AttributeError(f"{module.__name__} has no tracer")
        swap = cls(original=original, replacement=get_tracer(SCOPE, tracer_provider=provider))
        for each in _holding(original):
            each.__dict__["tracer"] = swap.replacement
        return swap

    def undo(self) -> None:
        """Give ADK's own tracer back to every module that holds ours."""
        for each in _holding(self.replacement):
            each.__dict__["tracer"] = self.original


def _holding(tracer: Any) -> Iterator[ModuleType]:
    for name, module in [*sys.modules.items()]:
        if name.startswith("google.adk") and vars(module).get("tracer") is tracer:
            yield module
