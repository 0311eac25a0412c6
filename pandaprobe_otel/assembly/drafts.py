"""Drafts of open traces: their spans so far, in a spool for the next process, and on the pages of a local server.

The worker makes them of what is new in each round, by the usual encoder. A draft changes neither the ledger nor what
the trace itself will contain: its segments have a memory of their own (`Drafted`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

import orjson

from pandaprobe_otel.assembly.assembler import Stage, TraceSegment
from pandaprobe_otel.assembly.encoder import SegmentEncoder
from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.spool.drafts import Draft
from pandaprobe_otel.mapping.ids import trace_uuid
from pandaprobe_otel.process.guard import failed
from pandaprobe_otel.transport.local_server import abilities_in
from pandaprobe_otel.transport.outcome import Answer, Request, Transport

MOST_BYTES: Final = 4 << 20
"""Bound on the drafts that wait for the local server."""
EVERY_S: Final = 0.2
"""Interval of the requests to the local server."""
_MOST_IN_REQUEST: Final = 500
"""Drafts in one request: as many as the server takes."""
_MOST_BYTES_IN_REQUEST: Final = 256 << 10
_MOST_INCOMPLETE: Final = 400
_BREAK_S: Final = 30.0
"""Time for which a server that has failed gets nothing."""


class Drafts:
    """Maker of drafts. Only the worker calls it. No method raises."""

    def __init__(
        self,
        *,
        encoder: Callable[[], SegmentEncoder],
        write: Callable[[Sequence[Draft]], bool] | None,
        live: LiveView | None,
    ) -> None:
        """`encoder`: makes an encoder with an unused ledger.

        `write`: writes to the spool, if there is one, and returns whether that was possible.
        """
        self._make_encoder = encoder
        self._encoder: SegmentEncoder | None = None
        self._write = write
        self.live = live

    @property
    def is_off(self) -> bool:
        """True if there is neither a spool nor a local server that shows open traces."""
        return self._write is None and (self.live is None or self.live.is_refused)

    @property
    def shows_all(self) -> bool:
        """True if drafts contain all open spans, for a local server; False if only the open roots."""
        return self.live is not None and not self.live.is_refused

    def take(self, segments: Iterable[TraceSegment]) -> None:
        """Put what is new in open traces into their drafts."""
        drafts: list[Draft] = []
        taken: list[TraceSegment] = []
        try:
            for segment in segments:
                taken.append(segment)
                if (draft := self._draft(segment)).parcels:
                    drafts.append(draft)
            if drafts and self.live is not None:
                self.live.add(drafts)
            if drafts and self._write is not None and not self._write(drafts):
                _begin_anew(taken)
        except Exception as error:  # noqa: BLE001 - protects the worker: only the drafts of this round are lost
            failed("a draft of an open trace", error)
            _begin_anew(taken)

    def replaced(self, segment: TraceSegment, *, was_running: bool) -> Sequence[Draft]:
        """Return the changes to write together with the requests of a segment, which replace the draft so far."""
        trace_id, is_running = trace_uuid(segment.trace_id), segment.memory.running
        if self.live is not None and not segment.open:
            self.live.forget(trace_id)
        if self._write is None or not (segment.drafted or was_running or is_running):
            return ()
        return (
            Draft(
                trace_id=trace_id,
                parcels=[_finish(trace_id, segment.memory.project)] if is_running else (),
                replaces=True,
            ),
        )

    def reset_after_fork(self) -> None:
        """Start empty in a forked child."""
        self._encoder = None
        if self.live is not None:
            self.live.reset_after_fork()

    def _draft(self, segment: TraceSegment) -> Draft:
        if self._encoder is None:
            self._encoder = self._make_encoder()
        parcels, trace_id = self._encoder.encode(segment), trace_uuid(segment.trace_id)
        if segment.drafted is not None and not segment.drafted.is_posted:  # the whole trace is in drafts
            parcels = [_as_create(parcel) for parcel in parcels]
        elif parcels and segment.memory.running and segment.stage is not Stage.LAST:
            parcels.append(_finish(trace_id, segment.memory.project))
        return Draft(trace_id=trace_id, parcels=parcels, is_open=bool(segment.open) or segment.memory.lacks_root)


def _begin_anew(segments: Iterable[TraceSegment]) -> None:
    for segment in segments:
        segment.memory.posted = False  # see `TraceBuffer.draft`


def _as_create(parcel: Parcel) -> Parcel:
    return replace(parcel, step=Step.CREATE) if parcel.step is Step.APPEND and not parcel.is_remote else parcel


def _finish(trace_id: str, project: str | None) -> Parcel:
    return Parcel(step=Step.FINISH, trace_id=trace_id, project=project or "")


class LiveView:
    """Sender of drafts to a server that says it is local. Its thread lives while there is something to send.

    If the server is too slow or does not answer, drafts are dropped, and the server is told which traces are
    incomplete. The traces themselves will contain everything.
    """

    def __init__(self, transport: Callable[[], Transport], *, timeout_s: float, monotonic: Callable[[], float]) -> None:
        self._make_transport = transport
        self._transport: Transport | None = None
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._start_empty()

    def _start_empty(self) -> None:
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._waiting: deque[tuple[str, bytes, str]] = deque()
        self._bytes = 0
        self._incomplete: set[str] = set()
        """Traces with dropped drafts, which no request has reported to the server yet."""
        self._in_request: set[str] = set()
        self._project = ""
        """Project of the drafts in the request."""
        self._was_asked = False
        self.is_refused = False
        """True if the server does not take drafts."""
        self._off_until = 0.0

    def add(self, drafts: Iterable[Draft]) -> None:
        """Send these drafts soon, unless the server has failed a short while ago."""
        if self.is_refused or self._closing.is_set():
            return
        with self._lock:
            for draft in drafts:
                spans = b",".join(parcel.spans.joined for parcel in draft.parcels if parcel.spans)
                encoded = b'{"trace_id":"%b","spans":[%b]}' % (draft.trace_id.encode(), spans)
                project = next((parcel.project for parcel in draft.parcels), "")
                self._waiting.append((draft.trace_id, encoded, project))
                self._bytes += len(encoded)
            is_off = self._monotonic() < self._off_until
            while self._waiting and (is_off or self._bytes > MOST_BYTES):
                self._drop_oldest()
            if self._waiting and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="pandaprobe-live", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:
                    self._thread = None  # during interpreter shutdown

    def forget(self, trace_id: str) -> None:
        """Drop what waits of a trace, because the server gets the trace itself."""
        if not (self._waiting or self._incomplete):
            return
        with self._lock:
            self._waiting = deque(each for each in self._waiting if each[0] != trace_id)
            self._bytes = sum(len(encoded) for _, encoded, _ in self._waiting)
            self._incomplete.discard(trace_id)

    def close(self) -> None:
        """Send nothing more. Close the connection after the current request has its answer or times out."""
        self._closing.set()
        thread = self._thread
        if thread is not None:
            thread.join(self._timeout_s)
        elif self._transport is not None:
            self._transport.close()

    def reset_after_fork(self) -> None:
        """Start empty in a forked child."""
        if self._transport is not None:
            self._transport.reset_after_fork()
        self._start_empty()

    def _drop_oldest(self) -> None:
        """Drop a draft. Beyond a bound, the server does not learn which traces are incomplete."""
        trace_id, encoded, _ = self._waiting.popleft()
        self._bytes -= len(encoded)
        if len(self._incomplete) < _MOST_INCOMPLETE:
            self._incomplete.add(trace_id)

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while (body := self._next()) is not None:
                if not self._is_taken(body):
                    with self._lock:
                        self._off_until = self._monotonic() + _BREAK_S
                        self._incomplete |= self._in_request
                        while self._waiting:
                            self._drop_oldest()
        except Exception as error:  # noqa: BLE001 - protects the app: only the live view is lost
            failed("the live view", error)
            self.is_refused = True
        finally:
            if self._closing.is_set() and self._transport is not None:
                self._transport.close()

    def _next(self) -> bytes | None:
        """Return the body of the next request after a while; None, which ends the thread, if nothing waits."""
        self._closing.wait(EVERY_S)
        with self._lock:
            if not self._waiting or self._closing.is_set() or self.is_refused:
                self._thread = None
                return None
            if not self._was_asked:
                return b""
            reported, self._incomplete = self._incomplete, set()
            items = [orjson.dumps({"trace_id": each, "spans": [], "is_incomplete": True}) for each in reported]
            size, self._in_request = 0, reported
            self._project = self._waiting[0][2]
            while self._waiting and len(items) < _MOST_IN_REQUEST and size < _MOST_BYTES_IN_REQUEST:
                if self._waiting[0][2] != self._project:
                    break
                trace_id, encoded, _ = self._waiting.popleft()
                size += len(encoded)
                items.append(encoded)
                self._in_request.add(trace_id)
            self._bytes -= size
            return b"[%b]" % b",".join(items)

    def _is_taken(self, body: bytes) -> bool:
        """Send a request, or first ask the server what it is; return whether it answered as expected."""
        if self._transport is None:
            self._transport = self._make_transport()
        path = "/local/live" if body else "/health"
        request = Request(
            method="POST" if body else "GET",
            path=path,
            body=body or None,
            timeout_s=self._timeout_s,
            most_read=4_096,
            project=self._project,
        )
        answer = self._transport.send(request)
        if not isinstance(answer, Answer):
            return False
        if body:
            return answer.status < 300
        abilities = abilities_in(answer)
        self.is_refused = abilities is None or not abilities.takes_live_spans
        self._was_asked = True
        return True
