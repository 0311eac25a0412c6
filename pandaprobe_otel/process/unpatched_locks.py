"""Detection of locks and events that were created before gevent replaced those of `threading`.

gunicorn's gevent workers patch `threading` after their fork. With --preload, the locks already exist. A greenlet that
waits for a lock of real threads stops all greenlets of the process for good. So code that starts a thread checks first.
"""

from __future__ import annotations

import threading


class LockMaker:
    """Record of the class of locks in use at creation; eventlet and gevent both replace `threading.Lock`."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock

    @property
    def is_outdated(self) -> bool:
        """True if `threading.Lock` has been replaced since: recreate the locks that no thread waits for."""
        return threading.Lock is not self._lock
