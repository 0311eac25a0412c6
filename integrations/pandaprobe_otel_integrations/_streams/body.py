"""One response body that is being read: what came, when it came, and that it ends exactly once."""

from __future__ import annotations

import re
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pandaprobe_otel_integrations._guard import guarded

from . import open_bodies

End = Literal["read", "terminal", "closed", "dropped", "failed", "exit"]
"""How a body ended: read to its end; its last event was seen; closed before; forgotten; broken; process exit."""

MAX_BODY_BYTES: Final = 16 << 20
"""Bytes of one body that are kept; later ones only count for the time. No chat answer is that long."""

_COLLECTED_ENDS: Final = frozenset({"closed", "dropped", "failed"})
"""Ends that may come from the garbage collector, which closes the generators that it finds."""
_EVENT_ENDS: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyRecord:
    """A body that has ended: its raw chunks as they came from the socket and each one's arrival (epoch ns)."""

    chunks: Sequence[bytes]
    times_ns: Sequence[int]
    end: End
    error: BaseException | None


class ObservedBody:
    """Receives every chunk that the app pulls and calls `on_end` once, whoever ends it first.

    `terminal` matches the beginning of the stream's last event: when that event is complete, so is the body,
    whether the app reads on, closes it or just keeps it.
    """

    __slots__ = (
        "__weakref__",
        "_chunks",
        "_finalizer",
        "_last_event",
        "_on_end",
        "_once",
        "_size",
        "_terminal",
        "_times_ns",
    )

    def __init__(self, on_end: Callable[[BodyRecord], None], *, terminal: re.Pattern[bytes] | None = None) -> None:
        self._on_end: Callable[[BodyRecord], None] | None = on_end
        self._terminal = terminal
        self._chunks: list[bytes] = []
        self._times_ns: list[int] = []
        self._size = 0
        self._last_event = False
        self._once = threading.Lock()
        self._finalizer: weakref.finalize[..., Any] | None = None

    def watch(self, owner: object) -> None:
        """End this body as `dropped` when `owner`, the object that the app reads it through, is forgotten."""
        self._finalizer = weakref.finalize(owner, self.end, "dropped")
        self._finalizer.atexit = False
        open_bodies.add(self)

    def keep(self, chunk: bytes) -> None:
        """One chunk was pulled. Costs two appends and a comparison."""
        self._times_ns.append(time.time_ns())
        if self._size > MAX_BODY_BYTES:
            return
        self._chunks.append(chunk)
        self._size += len(chunk)
        if self._last_event or (self._terminal is not None and self._terminal.search(chunk) is not None):
            self._last_event = True
            if chunk.endswith(_EVENT_ENDS):
                self.end("terminal")

    def end(self, how: End, error: BaseException | None = None) -> None:
        """The body ends; only the first call counts."""
        if not self._once.acquire(blocking=False):
            return
        on_end, self._on_end = self._on_end, None
        open_bodies.remove(self)
        if self._finalizer is not None:
            self._finalizer.detach()
            self._finalizer = None
        record = BodyRecord(chunks=self._chunks, times_ns=self._times_ns, end=how, error=error)
        self._chunks, self._times_ns = [], []
        if on_end is None:
            return
        if how in _COLLECTED_ENDS:
            open_bodies.run_unlocked(guarded, on_end, record)
        else:
            guarded(on_end, record)

    def abandon(self) -> None:
        """Never end: the body belongs to the process that this one was forked from."""
        self._once.acquire(blocking=False)
        self._on_end = None
