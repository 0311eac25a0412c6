"""The app's own model classes, whose methods are hooked when an agent with one runs for the first time."""

from __future__ import annotations

import threading
from typing import Any, Final

from pandaprobe_otel_integrations._patching import Patch, Wrapper, patch

_METHODS: Final = ("generate", "generate_stream")
_LIBRARY: Final = "smolagents."


class OwnModels:
    """The hooks on these classes, which are removed together."""

    def __init__(self, wrapper: Wrapper) -> None:
        self._wrapper = wrapper
        self._lock = threading.Lock()
        self._hooked: dict[type[Any], list[Patch]] = {}
        self._is_off = False

    def hook(self, model: Any) -> None:
        """Hook the methods of this model's class that do not come from smolagents."""
        owners = [
            owner
            for owner in type(model).__mro__
            if not f"{owner.__module__}.".startswith(_LIBRARY) and any(name in owner.__dict__ for name in _METHODS)
        ]
        for owner in owners[:1]:  # methods of its base classes are part of its call
            if owner not in self._hooked:
                self._add(owner)

    def _add(self, owner: type[Any]) -> None:
        with self._lock:
            if not self._is_off and owner not in self._hooked:
                self._hooked[owner] = [patch(owner, name, self._wrapper) for name in _METHODS if name in owner.__dict__]

    def undo(self) -> None:
        """Remove the hooks."""
        with self._lock:
            self._is_off = True
            hooked, self._hooked = self._hooked, {}
        for each in (one for patches in hooked.values() for one in patches):
            each.undo()
