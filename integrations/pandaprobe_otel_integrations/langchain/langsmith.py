"""LangSmith's own tracing of LangChain, if it is set to emit OpenTelemetry spans."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._rivals import Rival


@dataclass(frozen=True, slots=True, kw_only=True)
class LangSmithTracing(Rival):
    """LangSmith's tracing, active while it sends runs through OpenTelemetry, in the whole app or a part of it.

    Its spans go to the global tracer provider.
    """

    def is_active(self) -> bool:
        """Return whether LangSmith makes spans, by its own reading of its (cached) variables and of its context."""
        utils = sys.modules.get("langsmith.utils")
        return utils is not None and bool(guarded(_emits_spans, utils))


def _emits_spans(utils: Any) -> bool:
    mode = utils.get_env_var("TRACING_MODE")
    if mode and _has_modes():
        emits = mode.lower() in ("otel", "hybrid")
    else:
        switches = ("OTEL_ONLY", "OTEL_ENABLED") if _has_modes() else ("OTEL_ENABLED",)
        emits = any(utils.is_truish(utils.get_env_var(name)) for name in switches)
    return emits and bool(utils.tracing_is_enabled())


@cache
def _has_modes() -> bool:
    """Return whether the version is 0.8 or newer.

    Older versions read no mode, and ignore OTEL_ONLY without OTEL_ENABLED.
    """
    try:
        major, minor = version("langsmith").split(".")[:2]
        return (int(major), int(minor)) >= (0, 8)
    except (PackageNotFoundError, ValueError):
        return True
