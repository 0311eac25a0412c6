"""Hooks through which HTTP libraries ask a recording before they send. They are installed while a recording is open.

Each module hooks one library at the point where it chooses the transport. So all configured transports stay in use
while recording, and no socket is opened during playback. A library that is imported later is hooked then.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, cast

import wrapt

from pandaprobe_otel.errors import RecordingError

HOOKED: Final = {
    "httpx": "httpx",
    "httpx2": "httpx",
    "aiohttp": "aiohttp",
    "botocore.endpoint": "urllib3",
    "requests.sessions": "urllib3",
    "opentelemetry.sdk.trace": "not_recorded",
    "websockets.asyncio.client": "not_recorded",
    "websockets.sync.client": "not_recorded",
    "claude_agent_sdk._internal.transport.subprocess_cli": "not_recorded",
    "grpc": "not_recorded",
    "grpc.aio": "not_recorded",
}
"""Module of a library, with the module here that hooks it."""


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A wrapped attribute."""

    owner: Any
    name: str
    original: Any
    wrapper: Any

    def undo(self) -> None:
        """Restore the original. If another wrapper was added meanwhile, ours stays inside it and forwards calls."""
        if _own(self.owner).get(self.name) is self.wrapper:
            setattr(self.owner, self.name, self.original)


def patch(owner: Any, name: str, around: Callable[..., Any]) -> Patch:
    """Wrap `owner.name`. `around` is called with the original and the arguments.

    Raises RecordingError if the attribute is missing, as in unsupported versions of the library.
    """
    original: Any = _own(owner).get(name)
    if original is None:
        library = owner.__module__.partition(".")[0] if isinstance(owner, type) else owner.__name__
        raise RecordingError(
            f"This version of {library} cannot be recorded: it has no {getattr(owner, '__name__', owner)}.{name}. "
            "Report the version to the authors of pandaprobe-otel."
        )

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return around(original, *args, **kwargs)

    setattr(owner, name, wrapper)
    return Patch(owner, name, original, wrapper)


def exception_class(home: Any, name: str, bases: tuple[type, ...], *, timeout: str, other: str) -> Any:
    """Return a library's exception by its recorded name, or else the most similar one.

    A trace has the name that the client gave it.
    """
    kind = getattr(home, name, None)
    if isinstance(kind, type) and issubclass(kind, bases):
        return kind
    return getattr(home, timeout if "timeout" in name.lower() else other)


def _own(owner: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", vars(owner))


_lock = threading.Lock()
_is_on = False
_waits_for_imports = False
_patches: dict[str, Sequence[Patch]] = {}


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
