"""The embedded PandaProbe: the HTTP API, a SQLite store, evaluation and web pages in one process.

`LocalServer` runs it in a background thread (tests, notebooks); `serve` runs it until interrupted (command line).
Everything is loaded on first use; it needs the extra `local` (FastAPI, uvicorn, jinja2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandaprobe_otel.local.faults import Faults as Faults
    from pandaprobe_otel.local.server import LocalServer as LocalServer
    from pandaprobe_otel.local.server import serve as serve
    from pandaprobe_otel.local.store.database import DatabaseInUseError as DatabaseInUseError

_HOME_OF = {
    "DatabaseInUseError": "store.database",
    "Faults": "faults",
    "LocalServer": "server",
    "serve": "server",
}

__all__ = ["DatabaseInUseError", "Faults", "LocalServer", "serve"]


def __getattr__(name: str) -> Any:
    if (home := _HOME_OF.get(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
