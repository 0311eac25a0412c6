"""One response body that is being read: what came, when it came, and that it ends exactly once."""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import time_ns
from typing import Any, Final, Literal, NamedTuple

from pandaprobe_otel_integrations._guard import guarded

from . import open_bodies

End = Literal["read", "terminal", "closed", "dropped", "failed", "exit"]
"""The end of a body: read to its end; its last event seen; closed before; forgotten; broken; process exit."""

MAX_BODY_BYTES: Final = 16 << 20
"""Bytes of one body that are kept; later ones only count for the time. No chat answer is that long."""

_COLLECTED_ENDS: Final = frozenset({"closed", "dropped", "failed"})
"""Ends that may come from the garbage collector, which closes the generators that it finds."""
_EVENT_ENDS: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")


class BodyRecord(NamedTuple):
    """A body that has ended: its raw chunks as they came from the socket and each one's arrival (epoch ns).

    For a stream of objects, those are the chunks.
    """

    chunks: Sequence[Any]
    times_ns: Sequence[int]
    end: End
    error: BaseException | None

    @property
    def is_read(self) -> bool:
        """Return whether there was nothing more to read."""
        return self.end in ("read", "terminal")

    @property
    def is_cut(self) -> bool:
        """Return whether it was too long to be kept: not all that was read is here."""
        return len(self.chunks) < len(self.times_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class LastEvent:
    """The rule that recognises the event after which a stream has nothing more to say.

    `mark` matches at the beginning of its line. `hint` stands in every such event, and seldom in another: it is
    what each chunk is searched for.
    """

    hint: bytes
    mark: re.Pattern[bytes]

    def begins_in(self, chunk: bytes, chunks: Sequence[bytes]) -> bool:
        """Return whether it begins in `chunk`, which has the hint and is the last one of `chunks`."""
        found = self.mark.search(chunk)
        if found is None:
            return False
        # A chunk may begin in the middle of a line, which may quote the mark.
        return found.start() > 0 or len(chunks) < 2 or chunks[-2].endswith((b"\n", b"\r"))


class ObservedBody:
    """Receives every chunk that the app pulls and calls `on_end` once, whoever ends it first.

    When the event that `last` describes is complete, so is the body, whether the app reads on, closes it or just
    keeps it.
    """

    __slots__ = (
        "__weakref__",
        "_chunks",
        "_in_last_event",
        "_last",
        "_on_end",
        "_once",
        "_owner",
        "_size",
        "_times_ns",
    )

    def __init__(self, on_end: Callable[[BodyRecord], None], *, last: LastEvent | None = None) -> None:
        self._on_end: Callable[[BodyRecord], None] | None = on_end
        self._last = last
        self._chunks: list[Any] = []
        self._times_ns: list[int] = []
        self._size = 0
        self._in_last_event = False
        self._once = threading.Lock()
        self._owner: weakref.ref[Any] | None = None

    def watch(self, owner: object) -> None:
        """End this body as `dropped` when `owner`, the object that the app reads it through, is forgotten."""
        # `open_bodies` keeps this body alive, and with it the reference whose callback is wanted.
        self._owner = weakref.ref(owner, lambda _: self.end("dropped"))
        open_bodies.add(self)

    def keep(self, chunk: bytes) -> None:
        """One chunk was pulled. Costs two appends and a search.

        It runs among the client's own code, with nothing of it in the processor's caches: what touches little memory
        is cheap here. Other ways to search parse their arguments, or take bytes for a number first.
        """
        self._times_ns.append(time_ns())
        size = self._size
        if size > MAX_BODY_BYTES:
            return
        self._chunks.append(chunk)
        self._size = size + len(chunk)
        last = self._last
        if last is not None and (self._in_last_event or chunk.partition(last.hint)[1]):
            self._look_for_end(last, chunk)

    def so_far(self) -> BodyRecord:
        """Return the body until now, for a reader in another thread."""
        chunks = self._chunks.copy()
        return BodyRecord(chunks, self._times_ns[: len(chunks)], "closed", None)

    @property
    def size(self) -> int:
        """Bytes that are kept until now."""
        return self._size

    def _look_for_end(self, last: LastEvent, chunk: bytes) -> None:
        if self._in_last_event or last.begins_in(chunk, self._chunks):
            self._in_last_event = True
            if chunk.endswith(_EVENT_ENDS):
                self.end("terminal")

    def end(self, how: End, error: BaseException | None = None) -> None:
        """The body ends; only the first call counts."""
        if not self._once.acquire(blocking=False):
            return
        on_end, self._on_end = self._on_end, None
        open_bodies.remove(self)
        self._owner = None
        record = BodyRecord(self._chunks, self._times_ns, how, error)
        self._chunks, self._times_ns = [], []
        if on_end is None:
            return
        if how in _COLLECTED_ENDS:
            open_bodies.run_unlocked(guarded, on_end, record)
        else:
            guarded(on_end, record)

    def abandon(self) -> None:
        """Never end: another body takes its place, or it belongs to the process that this one was forked from."""
        self._once.acquire(blocking=False)
        self._on_end = None
        open_bodies.remove(self)
