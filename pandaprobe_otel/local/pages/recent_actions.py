"""Recent actions on the pages, which the next page shows together with equivalent commands."""

from __future__ import annotations

import secrets
import threading
from typing import Final

from pandaprobe_otel.local.pages.equivalents import Equivalent

_MOST: Final = 100


class RecentActions:
    """The latest actions on one server, by tokens that no other page can guess. Thread-safe."""

    def __init__(self) -> None:
        self._actions: dict[str, Equivalent] = {}
        self._lock = threading.Lock()

    def add(self, action: Equivalent) -> str:
        """Store an action and return its token. The oldest actions are dropped."""
        token = secrets.token_urlsafe(9)
        with self._lock:
            self._actions[token] = action
            while len(self._actions) > _MOST:
                del self._actions[next(iter(self._actions))]
        return token

    def get(self, token: str) -> Equivalent | None:
        """Return an action; None if the token is unknown."""
        return self._actions.get(token)
