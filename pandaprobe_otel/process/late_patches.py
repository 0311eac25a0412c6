"""Locks and events that are made while an app is loaded, and used only after gevent has replaced those of `threading`.

gunicorn's workers of gevent patch after their fork; with --preload everything was made by then. A greenlet that waits
for what belongs to real threads stops all greenlets of the process, for good. So whoever starts a thread asks first.
"""

from __future__ import annotations

import threading


class LockMaker:
    """Remembers whose locks were made; eventlet and gevent both replace `threading.Lock`."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock

    @property
    def is_outdated(self) -> bool:
        """Whether the process has other locks by now, so that those which nobody waits for yet are to be made anew."""
        return threading.Lock is not self._lock
