"""Hooks through which HTTP libraries ask a recording before they send. They are installed while a recording is open.

Each module hooks one library at the point where it chooses the transport. So all configured transports stay in use
while recording, and no socket is opened during playback. A library that is imported later is hooked then.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final, Protocol

import wrapt

HOOKED: Final = {
    "httpx": "httpx",
    "httpx2": "httpx",
    "aiohttp": "aiohttp",
    "botocore.endpoint": "botocore",
    "requests.sessions": "requests",
    "opentelemetry.sdk.trace": "span_starts",
    "websockets.asyncio.client": "unrecordable",
    "websockets.sync.client": "unrecordable",
    "claude_agent_sdk._internal.transport.subprocess_cli": "unrecordable",
    "grpc": "unrecordable",
    "grpc.aio": "unrecordable",
}
"""Module of a library, with the module here that hooks it."""


class Undoable(Protocol):
    """A change to a library."""

    def undo(self) -> None:
        """Restore the original."""
        ...


_lock = threading.Lock()
_is_on = False
_waits_for_imports = False
_patches: dict[str, Sequence[Undoable]] = {}


def install() -> None:
    """Hook the imported libraries now, and others when they are imported."""
    global _is_on, _waits_for_imports
    with _lock:
        _is_on = True
    for name in HOOKED:
        module = sys.modules.get(name)
        if module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False):
            _hook(module)
    if not _waits_for_imports:
        _waits_for_imports = True
        for name in HOOKED:
            wrapt.register_post_import_hook(_hook, name)


def remove() -> None:
    """Restore every library."""
    global _is_on
    with _lock:
        _is_on = False
        for patches in _patches.values():
            for patch in patches:
                patch.undo()
        _patches.clear()


def _hook(module: Any) -> None:
    name: str = module.__name__
    with _lock:
        if _is_on and name not in _patches:
            _patches[name] = import_module(f"{__name__}.{HOOKED[name]}").install(module)
