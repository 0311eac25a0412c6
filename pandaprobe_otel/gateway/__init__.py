"""An OTLP receiver that feeds PandaProbe, for other languages and for OpenTelemetry Collectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pandaprobe_otel.process.forks import lazy_names

if TYPE_CHECKING:
    from pandaprobe_otel.gateway.server import Gateway as Gateway
    from pandaprobe_otel.gateway.server import serve as serve

__all__ = ["Gateway", "serve"]

if not TYPE_CHECKING:  # Hidden from type checkers, which would otherwise accept any misspelt name.
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "server": (
                "Gateway",
                "serve",
            ),
        },
    )
