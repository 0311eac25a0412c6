"""The embedded PandaProbe: the HTTP API, a SQLite store, evaluation and web pages in one process.

`LocalServer` runs it in a background thread (tests, notebooks); `serve` runs it until interrupted (command line).
Modules are imported on first use. They need the extra `local` (FastAPI, uvicorn, jinja2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pandaprobe_otel.process.forks import lazy_names

if TYPE_CHECKING:
    from pandaprobe_otel.local.injected_faults import Faults as Faults
    from pandaprobe_otel.local.server import LocalServer as LocalServer
    from pandaprobe_otel.local.server import serve as serve
    from pandaprobe_otel.local.store.database import DatabaseInUseError as DatabaseInUseError

_HOMES = {
    "injected_faults": ("Faults",),
    "server": (
        "LocalServer",
        "serve",
    ),
    "store.database": ("DatabaseInUseError",),
}

__all__ = ["DatabaseInUseError", "Faults", "LocalServer", "serve"]

if not TYPE_CHECKING:  # Hidden from type checkers, which would otherwise accept any misspelt name.
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
