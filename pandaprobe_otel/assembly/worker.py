"""Hand-over of spans from the app's threads, and the single thread that assembles traces.

An app thread puts a started span into a dict. When the span ends, its fields replace it there or, if the worker has
already taken the start, go into a deque. App threads take no lock, do no I/O and encode nothing. The worker polls both
while spans come, and sleeps otherwise.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from pandaprobe_otel.assembly.assembler import Assembler, TraceSegment, log_size
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.mapping.sdk_span import (
    SMALLEST_SPAN,
    EndedSpan,
    cut_fields,
    fields_of,
    is_local_root,
    start_of,
    text_size,
)
from pandaprobe_otel.process.background import Alarm, LockMaker, start_thread
from pandaprobe_otel.process.guard import is_asking, mistake, pass_on

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from pandaprobe_otel.assembly.drafts import Drafts

_PLACE: Final = SMALLEST_SPAN
"""Bytes of a place. The bound is counted in places, because the length of a queue is known without a lock. A span takes
one place, and an empty one for every further `_PLACE` bytes of its text."""
_FEWEST_SHARE: Final = 8
"""Divisor of the memory bound: this share is always available here, however much data waits elsewhere."""
_MANY: Final = 64
_MANY_PLACES: Final = (4 << 20) // _PLACE
"""Numbers of waiting spans and of places that wake the worker early: a fast app makes many more until the next poll."""
_MOST_LOST: Final = 8_192
_CUT_TO: Final = 65_536
POLL_S: Final = 0.1
_LONGEST_REST_S: Final = 0.5
"""Longest time without a look while traces are open: log records wait for it, and each look takes 0.1 ms."""
DURABLE_POLL_S: Final = 0.02
"""Poll interval with a spool: the draft with an ended span is on disk within 50 ms, including the write."""

_MAX_LOG_BYTES: Final = 16 << 20
_LOG_PLACE: Final = 2048
"""Bytes per place in the queue of log records, whose length counts them too."""
_MOST_REFUSED: Final = 1 << 16

_SAMPLED: Final = 1
"""Bit of the trace flags in W3C Trace Context."""


class Worker:
    """Worker that takes span starts and ends from any thread and passes finished segments to `deliver` in its own
    thread.

    `also` is called at each poll, for other work in the worker's thread. It never raises.
    """

    def __init__(
        self,
        *,
        assembler: Callable[[], Assembler],
        deliver: Callable[[TraceSegment], None],
        ledger: Ledger,
        notices: Notices,
        max_bytes: int = 64 << 20,
        waiting_elsewhere: Callable[[], float] = lambda: 0.0,
        may_cut: bool = True,
        on_first_span: Callable[[], None] = lambda: None,
        also: Callable[[], None] = lambda: None,
        drafts: Drafts | None = None,
        poll_s: float = POLL_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`max_bytes`: bound on all waiting data: in this queue, in the assembler and elsewhere.

        `may_cut`: text may be cut; False if masks must see all of it.
        """
        self._max_bytes = max_bytes
        self._waiting_elsewhere = waiting_elsewhere
        self._cut_to = _CUT_TO if may_cut else 0
        self.drafts = drafts
        """Maker of drafts; None if nobody wants any (more)."""
        self._poll_s = poll_s
        self._notices = notices
        self._on_first_span = on_first_span
        self._also = also
        self._make_assembler = assembler
        self._deliver = deliver
        self._ledger = ledger
        self._monotonic = monotonic
        self._forked_at_ns = 0
        self._start_empty()

    def reset_after_fork(self) -> None:
        """Start empty in a forked child, where all open spans are copies of the parent process's."""
        self._start_empty()
        self._forked_at_ns = time.time_ns()

    def _start_empty(self) -> None:
        """Reset to no spans, new locks and no thread."""
        self._assembler = self._make_assembler()
        self._new: dict[int, ReadableSpan | EndedSpan] = {}
        """Spans, open or ended, whose start the worker has not seen, in order; the keys identify their contexts."""
        self._ended: deque[EndedSpan | None] = deque()
        """Ended spans whose start the worker has seen, and the empty places that account for text."""
        self._arrived: deque[EndedSpan] = deque()
        """Ended spans on their way to the assembler. After an interrupt in `flush`, the next round goes on."""
        self._lost: deque[tuple[int, int]] = deque(maxlen=_MOST_LOST)
        """Trace and span ids of ended spans that had no room."""
        self._places = self._max_bytes // _PLACE
        self._wake_at = _MANY
        self._logs: deque[Any] = deque()
        """Log records, each followed by empty places for its size. There is no lock, because a signal handler or a
        finalizer may log while its own thread holds it.
        """
        self._refused_logs: deque[None] = deque(maxlen=_MOST_REFUSED)
        self._make_locks()
        self._asleep = False
        self.is_started = False
        """True once there is a thread."""
        self._stopped = False

    def _make_locks(self) -> None:
        self._lock_maker = LockMaker()
        self._wake = Alarm()
        self._claim = threading.Lock()
        """Held by the thread that does the work, for as long as it lives."""
        self._work_lock = threading.RLock()

    def started(self, span: ReadableSpan) -> None:
        """Take a span that has started."""
        context = span.context
        waiting = len(self._new)
        if is_asking():
            return
        if context is None or self._stopped or waiting + len(self._ended) >= self._places:
            return
        self._new[id(context)] = span
        if not self.is_started:
            self._start()
        elif self._asleep or waiting >= self._wake_at:
            self._wake_at = self._places  # wake the worker only once
            self._wake.set()

    def ended(self, span: ReadableSpan) -> None:
        """Take a span that has ended. If there is no room, cut its text; if that is not enough, count it as dropped.

        The app never waits.
        """
        if is_asking():
            self._refuse(span, "made_by_callback")
            return
        fields = fields_of(span)
        key = id(fields[0])
        more = text_size(fields) // _PLACE
        waiting = len(self._new) + len(self._ended) + more
        if more and waiting >= self._places:
            fields = cut_fields(fields, self._cut_to)
            left = text_size(fields) // _PLACE
            waiting, more = waiting + left - more, left
        if self._stopped:
            self._refuse(span, "after_shutdown")
        elif key in self._new:
            self._new[key] = fields
        elif waiting < self._places or (waiting < 2 * self._places and is_local_root(fields)):
            self._ended.append(fields)
        else:
            self._refuse(span, "queue_full")
            more = 0
        if more:
            self._ended.extend((None,) * more)
        if not self.is_started:
            self._start()
        elif self._asleep or (more and waiting >= _MANY_PLACES):
            self._wake.set()

    def receive(self, spans: Sequence[ReadableSpan], deadline: float) -> bool:
        """Take over ended spans in the calling thread, which waits for the worker; return False if time runs out.

        With a spool, they are on disk afterwards. This is for callers that can make their senders wait; no span is
        refused for lack of room.
        """
        if self._stopped:
            return False
        if not self.is_started:
            self._start()
        if not self._work_lock.acquire(timeout=max(deadline - self._monotonic(), 0.001)):
            return False
        try:
            self._drain()
            self._arrived.extend(map(fields_of, spans))
            self._end_arrived(self._monotonic())
            if (drafts := self.drafts) is not None:
                drafts.take(self._assembler.drafts(self._assembler.changed, shows_all=drafts.shows_all))
        finally:
            self._work_lock.release()
        self._wake.set()  # even if the worker is about to sleep
        return True

    def logged(self, record: Any) -> None:
        """Take a log record with content of a span. Beyond the bound, leave it out and report it.

        Threads that check the bound at the same moment may each add one record too many.
        """
        more = log_size(record) // _LOG_PLACE
        if len(self._logs) + more >= _MAX_LOG_BYTES // _LOG_PLACE:
            self._refused_logs.append(None)
        else:
            self._logs.extend((record, *(None,) * more))

    def call(self) -> None:
        """Make the worker poll soon, for work other than spans (see `also`)."""
        if not self.is_started:
            self._start()
        self._wake.set()

    @property
    def is_unused(self) -> bool:
        """True if no span has arrived."""
        return not (self.is_started or self._new or self._ended)

    def flush(self, deadline: float) -> bool:
        """Deliver every trace whose root has ended; return False if the deadline passes before the worker is free."""
        return self._run_now(self._assembler.flush, deadline)

    def close(self, deadline: float) -> int:
        """Deliver everything and stop; return the approximate number of ended spans that were not delivered in time."""
        done = self._run_now(self._assembler.close, deadline)
        self._stopped = True
        self._wake.set()
        if done:
            return 0
        arrived = (*self._new.copy().values(), *self._ended.copy(), *self._arrived.copy())
        return sum(isinstance(seen, tuple) for seen in arrived) + self._assembler.ended_spans

    # -- the app's side -----------------------------------------------------------------------------------------------

    def _refuse(self, span: ReadableSpan, reason: str) -> None:
        context = span.context
        if context is None or not context.trace_flags & _SAMPLED:
            return
        self._ledger.refused(reason)
        if reason == "made_by_callback":
            mistake(
                "a function of the settings (mask, spans, api_key) makes spans itself. They are left out: to handle "
                "them would call the function again, without end."
            )
        else:
            self._lost.append((context.trace_id, context.span_id))

    def _start(self) -> None:
        """Start the thread. Several of the app's threads may do so at once, and an interrupt may strike anywhere."""
        if self._stopped:
            return
        if self._lock_maker.is_outdated:
            self._make_locks()
        self._on_first_span()
        try:
            start_thread(self._run, "pandaprobe-worker")
            self.is_started = True
        except RuntimeError as error:  # during interpreter shutdown, close() does the work in the calling thread
            pass_on(error)

    # -- the worker's side --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        if not self._claim.acquire(blocking=False):
            return  # another thread was started at the same time
        self.is_started = True
        while not self._stopped:
            drafts = self.drafts
            with self._work_lock:
                self._work(self._assembler.due)
                is_idle = not len(self._assembler)
                waiting = None if drafts is None else drafts.waiting()
            # Not under the lock: a flush does not wait for this server.
            if drafts is not None and waiting and not drafts.show(waiting):
                self.drafts = None
            if not is_idle:
                self._pause()
            self._sleep(is_idle=is_idle)
        self._give_up()

    def _sleep(self, *, is_idle: bool) -> None:
        """Wait for a span if none has arrived, at most until a trace is due."""
        with self._work_lock:
            left_s = min(self._assembler.next_look - self._monotonic(), _LONGEST_REST_S)
        if not is_idle and (left_s <= 0 or len(self._logs)):
            return
        self._asleep = True
        if not (self._new or self._ended):  # a span that arrives after this check sets the event
            self._wake.wait(None if is_idle else left_s)
        self._asleep = False
        self._wake.clear()
        self._wake_at = _MANY

    def _give_up(self) -> None:
        """Count as dropped the spans that arrived too late for delivery."""
        with self._work_lock:
            self._drain()
            self._ledger.dropped("shutdown", self._assembler.ended_spans)
            self._assembler = self._make_assembler()
            self._also()

    def _pause(self) -> None:
        """Wait for the next poll. If many spans arrive meanwhile, take them; if much waits, poll at once."""
        end = time.monotonic() + self._poll_s
        while not self._stopped and (left := end - time.monotonic()) > 0 and self._wake.wait(left):
            self._wake_at = _MANY
            with self._work_lock:
                self._drain()
                if self._assembler.has_much:
                    return

    def _run_now(self, ready: Callable[[float], Iterable[TraceSegment]], deadline: float) -> bool:
        remaining = min(max(deadline - self._monotonic(), 0.001), threading.TIMEOUT_MAX)
        if not self._work_lock.acquire(timeout=remaining):
            return False
        try:
            self._drain()
            self._assembler.look_for_dropped(self._monotonic())
            self._work(ready)  # the end of a span that the app had dropped is in the queue by now, or never comes
        finally:
            self._work_lock.release()
        return True

    def _work(self, ready: Callable[[float], Iterable[TraceSegment]]) -> None:
        self._drain()
        left = self._max_bytes - self._assembler.bytes - int(self._waiting_elsewhere())
        self._places = max(left, self._max_bytes // _FEWEST_SHARE) // _PLACE
        self._also()
        changed = () if self.drafts is None else self._assembler.changed
        for segment in ready(self._monotonic()):
            try:
                self._deliver(segment)
            except BaseException as error:  # protects the worker: only this segment is lost, not the thread
                self._ledger.dropped("internal_error", len(segment.ended))
                self._notices.say(
                    f"encode: {type(error).__name__}",
                    "A trace could not be encoded inside pandaprobe-otel; please report this: "
                    + "".join(traceback.format_exception(error)),
                    level=logging.ERROR,
                )
                if not isinstance(error, Exception) and threading.current_thread() is threading.main_thread():
                    raise  # an interrupt in the app's thread, which does the work at the end of the interpreter
                pass_on(error)
        if (drafts := self.drafts) is not None:
            drafts.take(self._assembler.drafts(changed, shows_all=drafts.shows_all))

    def _drain(self) -> None:
        """Move arrived spans and records into the assembler; later arrivals wait for the next round.

        The ends are counted before the starts are taken, so the ancestors of every ended span are known. A trace
        therefore never looks complete while an ancestor of its spans is open. Log records are counted first, so that
        their spans are known.
        """
        logs, waiting = len(self._logs), len(self._ended)
        assembler, now, is_child = self._assembler, self._monotonic(), self._forked_at_ns > 0
        for key, seen in self._new.copy().items():  # an atomic copy, because the app's threads go on
            new = self._new.pop(key)
            if isinstance(seen, tuple):
                self._arrived.append(seen)
                continue
            context = seen.context
            if context is not None and context.trace_flags & _SAMPLED:
                assembler.started(seen, now)
            if isinstance(new, tuple):  # it has ended since the copy, and children may have arrived: next round
                self._ended.append(new)
        for _ in range(waiting):
            if (span := self._ended.popleft()) is not None and not (is_child and self._is_copy(span)):
                self._arrived.append(span)
        self._end_arrived(now)
        for _ in range(len(self._lost)):
            assembler.lost(*self._lost.popleft(), now)
        for _ in range(logs):
            if (record := self._logs.popleft()) is not None and not assembler.logged(record):
                self._refused_logs.append(None)
        if refused := len(self._refused_logs):
            for _ in range(refused):
                self._refused_logs.popleft()
            self._notices.say(
                "logs_full",
                f"{refused} log records with content of spans were left out: they arrive too fast, or they belong to "
                "spans that stay open.",
            )
        if assembler.given_up:
            given_up, assembler.given_up = assembler.given_up, 0
            self._notices.say(
                "never_ended",
                f"{given_up} open spans are no longer waited for, because too many do not end. Their traces are sent "
                "with the ended spans, and spans that end later are added.",
            )

    def _end_arrived(self, now: float) -> None:
        """Pass the ends of sampled spans to the assembler, and count them."""
        ended = 0
        while self._arrived:
            span = self._arrived.popleft()
            context = span[0]
            if context is None or not context[3] & _SAMPLED:  # a tuple, because its properties are Python calls
                continue
            self._assembler.ended(span, now)
            ended += 1
        if ended:
            self._ledger.ended(ended)

    def _is_copy(self, span: EndedSpan) -> bool:
        """Return whether, in a forked child, the span belongs to the parent process, which ends it too."""
        return start_of(span) < self._forked_at_ns and not (span[0] and self._assembler.has_open(*span[0][:2]))
