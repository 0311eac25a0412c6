"""Parcels that wait to be sent: a line for each trace, bounded in bytes, with content in memory or on disk.

Traces that wait for a token have a rank: the highest is sent next, and the lowest is left out if there is no room.
Errors come first: they have a queue of their own, up to four fifths of what is sent and of what waits. Within a queue,
the newest half minute ranks highest, because an old trace is worth less. Slow traces, and the first of each name in ten
minutes, count as ten minutes newer. Among traces of about the same time, the randomness of the trace id decides. So a
busy endpoint blocks no rare one, and independent processes choose the same traces.

If everything is kept, the oldest would wait as long as an overload lasts. So every fifth turn goes to the lowest rank.
"""

from __future__ import annotations

import heapq
import itertools
import math
from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final
from zlib import crc32

from pandaprobe_otel.delivery.parcel import Parcel, Step

if TYPE_CHECKING:
    from pandaprobe_otel.delivery.spool.drafts import Draft
    from pandaprobe_otel.delivery.spool.store import SpoolStore

PACK_ABOVE: Final = 4 << 20
"""Bytes that may wait uncompressed. Beyond that, traces arrive faster than they are sent and will wait for a while."""
MAX_AGE_S: Final = 7 * 24 * 3600.0
"""Longest wait on disk. Older requests are dropped: nobody looks at last week's trace if it appears today."""
LOOK_AFTER_S: Final = 5.0
"""Delay after which a request that a process sent just before its death must have arrived."""
_READ_AGAIN_S: Final = 1.0
_NEWER_S: Final = 30.0
"""Difference in time that outweighs any difference in randomness."""
_NOTABLE: Final = 20.0
"""Advantage of a slow trace, or the first of its name, in units of that time."""
_RECENT: Final = 100
_MOST_ERRORS: Final = 80
"""Errors among the last hundred sent traces, above which other traces take their turn."""
_OLDEST_EACH: Final = 5
_SPACE: Final = 1 << 56
_FIRST_AGAIN_S: Final = 600.0
_MOST_NAMES: Final = 4000
_NEEDED: Final = 20
"""Number of known traces of a name before any of them counts as slow."""
_UP: Final = 1.2
_DOWN: Final = 0.9963
"""Factor of a step down. One step up and 49 steps down make 1, so one trace in fifty stays above the mark."""
_USUAL: Final = 2.0
_WEIGHT: Final = 0.05


def randomness(trace_id: int) -> float:
    """Return the randomness of a trace id, by which all processes that sample a trace make the same decision.

    It goes from 0 to 1 (by rounding, 1 itself is possible). W3C Trace Context (level 2, "random-trace-id flag")
    promises randomness in the lowest 56 bits. OpenTelemetry's consistent probability sampling keeps a trace if these
    bits are not below a threshold. So if one process keeps fewer traces than another, all its traces are among those of
    the other.
    """
    return (trace_id & (_SPACE - 1)) / _SPACE


def randomness_of_uuid(trace_id: str) -> float:
    """Return the randomness of a PandaProbe trace id (a UUID); for any other text, return a hash."""
    try:
        return int(trace_id[-15:-13] + trace_id[-12:], 16) / _SPACE
    except ValueError:
        return crc32(trace_id.encode("utf-8", "surrogatepass")) / (1 << 32)


@dataclass(slots=True)
class _Usual:
    """Numbers of one name."""

    first_at: float
    """Time of the newest trace that counted as the first of its name."""
    mark_s: float
    usual_s: float
    count: int = 0


class Names:
    """Detection of slow traces and of the first of each name. It keeps four numbers for each of the latest names.

    A trace is slow if it took longer than 49 of 50 recent ones of its name, and over twice the usual time. It is the
    first if there was none of its name for ten minutes. Traces with an error have names of their own.
    """

    def __init__(self) -> None:
        self._names: OrderedDict[tuple[str, bool], _Usual] = OrderedDict()

    def look_at(self, parcel: Parcel, now: float) -> None:
        """Mark a trace that is slow or the first of its name, and count it for later ones."""
        key, seconds = (parcel.name, parcel.is_error), parcel.duration_s
        known = self._names.get(key)
        if known is None:
            known = self._names[key] = _Usual(now, seconds, seconds)
            parcel.is_first = True
            if len(self._names) > _MOST_NAMES:
                self._names.popitem(last=False)
        else:
            self._names.move_to_end(key)
            if now - known.first_at >= _FIRST_AGAIN_S:
                known.first_at, parcel.is_first = now, True
            parcel.is_slow = known.count >= _NEEDED and seconds > max(known.mark_s, known.usual_s * _USUAL)
            known.mark_s *= _UP if seconds > known.mark_s else _DOWN
            known.usual_s += _WEIGHT * (seconds - known.usual_s)
        known.count += 1


@dataclass(slots=True, eq=False)
class Line:
    """Parcels of one trace, in order. Only the first may be sent, because later ones depend on it.

    Scores have a line of their own, because a score may precede its trace.
    """

    key: str
    parcels: list[Parcel] = field(default_factory=list[Parcel])
    ticket: int = 0
    """Number of the line's current place; 0 if it has none. Entries of the heap with other numbers are stale."""
    place: tuple[list[_Ranked], _Ranked] | None = None
    """Queue in which the line waits for its turn, and its entry there."""


_Ranked = tuple[float, int, Line]
"""Rank, or time at which the line is due; its ticket; and the line. In queues, tickets are negative, because earlier
lines rank higher.
"""


@dataclass(slots=True, kw_only=True)
class Tended:
    """Changes from outside: parcels that were found, and parcels that are gone."""

    found: list[Parcel] = field(default_factory=list[Parcel])
    """Parcels of dead processes, without their content. `in_doubt`: that process may have sent it."""
    gone: list[tuple[Parcel, str]] = field(default_factory=list[tuple[Parcel, str]])
    """Parcels whose content cannot be read any more, that are too old, or that have no room, each with the reason."""
    damaged_spans: int = 0
    """Unreadable spans of other processes."""
    is_lost: bool = False
    """True if nothing is on disk any more of what this process had there."""


class Outbox:
    """Parcels by trace. Not thread-safe: its owner calls it under one lock, and calls `save` before releasing the lock.

    Without a store, content waits in memory. With a store, `save` writes the content there and removes it from memory;
    it is loaded when its request is about to be sent. If the store fails, nothing is lost, but the memory's bound
    applies again.

    A line whose first parcel is not under way waits in a heap until it is due, and then in a queue for its turn. If it
    begins with a create, its turn needs a token.
    """

    def __init__(
        self,
        max_bytes: int,
        store: SpoolStore | None = None,
        *,
        keeps_all: bool = False,
        look_after_s: float = LOOK_AFTER_S,
    ) -> None:
        """Bound the outbox to `max_bytes` of memory. A parcel in the store takes about 600 bytes of memory.

        `keeps_all`: nothing is evicted; the caller of `put` must stop before `fill` reaches 1.
        """
        self.keeps_all = keeps_all
        self._look_after_s = look_after_s
        self._is_over = False
        self._max_bytes = max_bytes
        self.store = store
        """If there is a store, changes must be saved. Without one, `save` and `inspect` do nothing."""
        self._unsaved: dict[Parcel, None] = {}
        """Parcels whose state on disk is not that in memory; all that only the memory has are among them."""
        self.bytes = 0
        """Bytes of memory of the parcels as they wait. Content that is loaded or unpacked to be sent does not count."""
        self._count = 0
        self._lines: OrderedDict[str, Line] = OrderedDict()
        self._due: list[_Ranked] = []
        self._errors: list[_Ranked] = []
        """Lines of traces with errors that wait for a token, lowest rank first. `_ordinary`: the others that do."""
        self._ordinary: list[_Ranked] = []
        self._free: list[_Ranked] = []
        """Lines that need no token."""
        self._turn = 0
        self._recent: deque[bool] = deque(maxlen=_RECENT)
        self._recent_errors = 0
        self._tickets = itertools.count(1)

    @property
    def fill(self) -> float:
        """Used share of the bound of memory or disk, whichever is fuller; from 0 to 1."""
        used, bound = (0, 1) if self.store is None else self.store.room()
        return min(max(self.bytes / self._max_bytes, used / bound), 1.0)

    @property
    def waiting_for_tokens(self) -> int:
        """Number of lines that wait for a token."""
        return len(self._errors) + len(self._ordinary)

    @property
    def is_done(self) -> bool:
        """True if nothing waits, nothing is under way, and the disk has been searched."""
        return self._count == 0 and (self.store is None or not self.store.has_more)

    @property
    def is_kept(self) -> bool:
        """True if all waiting parcels would survive the process."""
        if self.store is None:
            return not self._count
        return all(parcel.row for parcel in self._unsaved)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Parcel]:
        return (parcel for line in self._lines.values() for parcel in line.parcels)

    def put(self, parcel: Parcel, now: float) -> list[tuple[Parcel, str]]:
        """Add a parcel at the end of its trace's line; return the parcels evicted for it, with the reason.

        A create is added before parcels that wait for its trace to be stored.
        """
        store = self.store
        if store is None and self.bytes > PACK_ABOVE:
            parcel.pack()
        parcel.since, parcel.in_doubt = now, parcel.step is Step.SCORE
        self._insert(parcel, now, now)
        if store is None:
            return self._evict() if self.bytes > self._max_bytes else []
        self._unsaved[parcel] = None
        return [] if store.works else self._evict()  # else it is about to take the content out of memory

    def start(self, parcel: Parcel, now: float) -> None:
        """Mark an opened parcel as under way: no other request of its trace may be sent meanwhile."""
        parcel.in_flight = True
        if parcel.step is Step.CREATE:
            self._turn = (self._turn + 1) % _OLDEST_EACH
            if len(self._recent) == _RECENT:
                self._recent_errors -= self._recent[0]
            self._recent.append(parcel.is_error)
            self._recent_errors += parcel.is_error
            if parcel.row and not parcel.in_doubt:
                self._unsaved[parcel] = None
        if parcel.line is not None:
            self._unqueue(parcel.line)

    def open(self, parcel: Parcel, now: float) -> bool:
        """Load the content in the form to send; return False if the parcel must wait for its content."""
        parcel.unpack()
        if parcel.is_bare:
            content = None if self.store is None else self.store.read(parcel)
            if content is None:  # `inspect` will find out whether it is lost
                self.retry(parcel, now + _READ_AGAIN_S)
                return False
            parcel.take_content(*content)
        return True

    def retry(self, parcel: Parcel, at: float) -> None:
        """Put the parcel back at the head of its line, due at `at`."""
        parcel.in_flight = False
        line = parcel.line
        if line is None or line.parcels[0] is not parcel:
            return
        self._close(parcel)
        if self.has_create(parcel):
            line.parcels[:2] = line.parcels[1], parcel
            at = line.parcels[0].since
        self._queue(line, at)

    def has_create(self, parcel: Parcel) -> bool:
        """Return whether this process is about to post the trace that the parcel adds to."""
        parcels = self.with_it(parcel)
        return parcel.step is not Step.CREATE and len(parcels) > 1 and parcels[1].step is Step.CREATE

    def with_it(self, parcel: Parcel) -> list[Parcel]:
        """Return the parcel and all parcels that wait behind it."""
        return [parcel] if parcel.line is None else [*parcel.line.parcels]

    def finish(self, parcel: Parcel, now: float, *, next_at: float | None = None) -> None:
        """Remove a parcel that was delivered or given up. The next one of its trace is due at `next_at`."""
        parcel.in_flight = False
        line = parcel.line
        if line is None:
            return
        if line.ticket:
            self._unqueue(line)
        line.parcels.remove(parcel)
        parcel.line = None
        self.bytes -= parcel.counted
        self._count -= 1
        self._unsaved.pop(parcel, None)
        if parcel.row:
            self._unsaved[parcel] = None
        if line.parcels:
            self._queue(line, now if next_at is None else next_at)
        else:
            del self._lines[line.key]

    def replace(self, parcel: Parcel, pieces: Sequence[Parcel], now: float) -> None:
        """Replace a parcel's content by parts of it: the first takes its place, the others follow it."""
        if parcel.line is None:
            return
        parcel.take_content(pieces[0].fields, pieces[0].spans)
        if parcel.row:
            parcel.is_rewritten = True
            self._unsaved[parcel] = None
        for index, piece in enumerate(pieces[1:], 1):
            piece.since = parcel.since
            self._insert(piece, now, now, index)
            if self.store is not None:
                self._unsaved[piece] = None
        self.retry(parcel, now)

    def amend(self, parcel: Parcel, fields: bytes) -> None:
        """Change the fields sent for a parcel this time; its content on disk stays unchanged."""
        parcel.take_content(fields, parcel.spans)

    def adopt(self, parcel: Parcel, project: str, now: float) -> None:
        """Make a trace's waiting spans a separate trace under a derived id, because its root is not coming."""
        parcel.in_flight = False
        opened = [waiting for waiting in self.with_it(parcel) if self.open(waiting, now)]
        adopted = [waiting.adopted(project) for waiting in opened]
        for waiting in opened:
            self.finish(waiting, now)
        for index, each in enumerate(adopted):
            self.put(each if index == 0 else replace(each, step=Step.APPEND), now)

    # -- whose turn it is ---------------------------------------------------------------------------------------------

    def next(self, now: float) -> tuple[Parcel | None, float]:
        """Return the parcel whose turn it is, and the time at which the next line is due.

        What needs no token comes first. The parcel is None if there is none.
        """
        due_at = math.inf
        while self._due:
            at, ticket, line = self._due[0]
            if line.ticket == ticket and at > now:
                due_at = at
                break
            heapq.heappop(self._due)
            if line.ticket == ticket:
                self._let_wait(line, at)
        errors, ordinary = self._errors, self._ordinary
        if self._free:
            line = self._free[-1][2]
        elif not (errors or ordinary):
            return None, due_at
        elif self.keeps_all and self._turn == 0:
            line = (ordinary or errors)[0][2]
        else:
            is_for_errors = errors and (self._recent_errors < _MOST_ERRORS or not ordinary)
            line = (errors if is_for_errors else ordinary)[-1][2]
        return line.parcels[0], due_at

    def hasten(self, now: float) -> None:
        """Make all lines due now, except those whose first one is in doubt: the server may still be storing it."""
        for _, ticket, line in [*self._due]:
            if line.ticket == ticket and not line.parcels[0].in_doubt:
                self._queue(line, now, now)

    # -- the store ----------------------------------------------------------------------------------------------------

    def save(self, drafts: Sequence[Draft] = ()) -> bool:
        """Write the changes since the last call, with the drafts; return whether that was possible."""
        store = self.store
        if store is None:
            return True
        if not (self._unsaved or drafts or store.is_behind):
            return store.works
        if is_saved := store.write(self._unsaved, drafts):
            changed, self._unsaved = self._unsaved, {}
            for parcel in changed:
                parcel.is_rewritten = False
                self._close(parcel)
        self._is_over = not self.keeps_all and (self._is_heavy or _excess(store) > 0)
        return is_saved

    @property
    def inspect_at(self) -> float:
        """Time at which to call `inspect` (monotonic)."""
        if self.store is None:
            return math.inf
        return -math.inf if self._is_over else self.store.tend_at

    def inspect(self, now: float) -> Tended:
        """Take over the parcels of dead processes; give up those that are lost, too old or beyond the bound.

        Call this at `inspect_at`.
        """
        if self.store is None:
            return Tended()
        tended = self.store.tend(self, now)
        if tended.is_lost:
            self._unsaved.clear()
        waiting = (parcel for parcel in self if parcel.row and not parcel.in_flight)
        tended.gone += [(parcel, "expired") for parcel in waiting if now - parcel.since > MAX_AGE_S]
        for parcel, _ in tended.gone:
            self.finish(parcel, now)
        for parcel in tended.found:
            was_started = parcel.in_doubt
            parcel.in_doubt = parcel.step is Step.SCORE or (was_started and parcel.step is Step.CREATE)
            self._insert(parcel, now + self._look_after_s if was_started else now, now)
        self._unsaved.update((parcel, None) for parcel in self if not parcel.row)  # also if their file is gone
        self.save()
        tended.gone += self._evict()
        self.save()
        self._is_over = False  # within the bound, or all remaining parcels are under way
        return tended

    def keep_refused(self, parcel: Parcel, words: str, now: float) -> None:
        """Keep a refused parcel with the server's words, if there is a store."""
        if self.store is not None and self.open(parcel, now):
            self.store.keep_refused(parcel, words)

    def leave(self) -> None:
        """Close the store at the end of the process. Parcels on disk stay there."""
        if self.store is not None:
            self.store.try_again()
            self.save()
            self.store.close()

    def abandon(self, *, is_quiet: bool) -> None:
        """Give up, in a forked child, all parcels, because they belong to the parent.

        `is_quiet`: no thread wrote to the disk during the fork.
        """
        for line in self._lines.values():  # a line and its parcels refer to each other: free them without the collector
            line.parcels.clear()
        if self.store is not None:
            self.store.abandon(is_quiet=is_quiet)

    @property
    def _is_heavy(self) -> bool:
        return self.bytes > self._max_bytes

    def _close(self, parcel: Parcel) -> None:
        """Drop the content of a waiting parcel from memory if the disk has it, or pack it again."""
        if parcel.in_flight or parcel.line is None:
            return
        if parcel.row and not parcel.is_rewritten:
            parcel.drop_content()
        elif self.store is None and parcel.size > parcel.counted:
            parcel.pack()
        self.bytes += parcel.size - parcel.counted
        parcel.counted = parcel.size

    # -- places -------------------------------------------------------------------------------------------------------

    def _insert(self, parcel: Parcel, at: float, now: float, index: int | None = None) -> None:
        """Insert a parcel into its trace's line: at the end, or a create before those that wait for its trace."""
        key = f"{parcel.trace_id}/scores" if parcel.step is Step.SCORE else parcel.trace_id
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(key)
        parcels = line.parcels
        if index is None:
            is_first = parcels and parcel.step is Step.CREATE and parcels[0].step is not Step.CREATE
            index = int(parcels[0].in_flight) if is_first else len(parcels)
        parcels.insert(index, parcel)
        parcel.line = line
        parcel.counted = parcel.size
        self.bytes += parcel.counted
        self._count += 1
        if index == 0:
            self._queue(line, at, now)

    def _queue(self, line: Line, at: float, now: float = -math.inf) -> None:
        """Add or move a line whose first parcel is due at `at`."""
        if line.ticket:
            self._unqueue(line)
        line.ticket = next(self._tickets)
        if at <= now:
            self._let_wait(line, at)
        else:
            heapq.heappush(self._due, (at, line.ticket, line))

    def _unqueue(self, line: Line) -> None:
        """Remove a line whose first parcel is under way or gone; its entry in the heap becomes stale."""
        line.ticket = 0
        if line.place is not None:
            queue, entry = line.place
            del queue[bisect_left(queue, entry)]
            line.place = None

    def _let_wait(self, line: Line, at: float) -> None:
        """Let a line wait for its turn."""
        parcel = line.parcels[0]
        queue, rank = self._free, -at
        if parcel.step is Step.CREATE:
            queue = self._errors if parcel.is_error else self._ordinary
            bonus = _NOTABLE if parcel.is_slow or parcel.is_first else 0.0
            rank = parcel.since / _NEWER_S + bonus + randomness_of_uuid(parcel.trace_id)
        line.place = queue, (rank, -line.ticket, line)
        insort(queue, line.place[1])

    def _victim(self) -> Line | None:
        """Return the line to evict first; lines that do not wait for a token come last."""
        if not self.waiting_for_tokens:
            return next((line for line in self._lines.values() if not line.parcels[0].in_flight), None)
        errors_have_most = len(self._errors) > _MOST_ERRORS * self.waiting_for_tokens / _RECENT
        return (self._errors if errors_have_most or not self._ordinary else self._ordinary)[0][2]

    def _evict(self) -> list[tuple[Parcel, str]]:
        """Make room; return the evicted parcels with the reason."""
        evicted: list[tuple[Parcel, str]] = []
        if self.keeps_all:
            return evicted
        excess = _excess(self.store)
        while (self._is_heavy or excess > 0) and (line := self._victim()) is not None:
            for parcel in [*line.parcels]:
                evicted.append((parcel, "queue_full" if not parcel.row else "spool_full"))
                excess -= parcel.stored
                self.finish(parcel, 0.0)
        return evicted


def _excess(store: SpoolStore | None) -> int:
    """Return the bytes over the bound on the disk; a negative number is room."""
    used, bound = (0, 0) if store is None else store.room()
    return used - bound
