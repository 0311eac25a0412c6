"""Drafts of open traces: their spans so far, in a spool for the next process, and on the pages of a local server.

The worker makes them of what is new in each round, by the usual encoder. A draft changes neither the ledger nor what
the trace itself will contain: its segments have a memory of their own (`Drafted`).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from pandaprobe_otel.assembly.assembler import Stage, TraceSegment
from pandaprobe_otel.assembly.encoder import SegmentEncoder
from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.spool.drafts import Draft
from pandaprobe_otel.mapping.ids import trace_uuid
from pandaprobe_otel.process.guard import failed
from pandaprobe_otel.transport.local_server import abilities_in
from pandaprobe_otel.transport.outcome import Answer, Outcome, Request, Transport

_MOST_IN_REQUEST: Final = 500
"""Drafts in one request: as many as the server takes."""
_MOST_BYTES: Final = 256 << 10
"""Bytes of a request above which no further draft is added to it."""
_MOST_WAITING: Final = 1_000
"""Bound on the drafts that wait while the server answers slowly."""
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
    def shows_all(self) -> bool:
        """True if drafts contain all open spans, for a local server; False if only the open roots."""
        return self.live is not None

    def waiting(self) -> deque[Draft] | None:
        """Return the drafts to be shown, outside of the worker's lock, under which the other methods are called."""
        return None if self.live is None else self.live.take()

    def show(self, waiting: deque[Draft]) -> bool:
        """Send these drafts to the local server; return False if neither it nor a spool wants any more drafts."""
        if self.live is not None and not self.live.show(waiting):
            self.live = None
        return self.live is not None or self._write is not None

    def take(self, segments: Iterable[TraceSegment]) -> None:
        """Put what is new in open traces into their drafts."""
        drafts: list[Draft] = []
        taken: list[TraceSegment] = []
        try:
            for segment in segments:
                taken.append(segment)
                if (draft := self._draft(segment)).parcels:
                    drafts.append(draft)
            if drafts and (live := self.live) is not None:
                live.add(drafts)
            if drafts and self._write is not None and not self._write(drafts):
                _begin_anew(taken)
        except Exception as error:  # noqa: BLE001 - protects the worker: only the drafts of this round are lost
            failed("a draft of an open trace", error)
            _begin_anew(taken)

    def replaced(self, segment: TraceSegment, *, was_running: bool) -> Sequence[Draft]:
        """Return the changes to write together with the requests of a segment, which replace the draft so far."""
        trace_id, is_running = trace_uuid(segment.trace_id), segment.memory.running
        if (live := self.live) is not None and not segment.open:
            live.forget(trace_id)
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
    """Sender of drafts to a server that says it is local, from the worker's thread between its rounds.

    A server that does not answer in time gets nothing for a while, and learns with the next draft of a trace that the
    trace is incomplete. The traces themselves will contain everything.
    """

    def __init__(self, transport: Callable[[], Transport], *, timeout_s: float, monotonic: Callable[[], float]) -> None:
        self._make_transport = transport
        self._transport: Transport | None = None
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._start_empty()

    def _start_empty(self) -> None:
        self._waiting: deque[Draft] = deque()
        self._incomplete: set[str] = set()
        """Traces with drafts that the server did not get, which it does not know yet."""
        self._was_asked = False
        self._is_refused = False
        self._off_until = -math.inf

    def add(self, drafts: Iterable[Draft]) -> None:
        """Let drafts wait for the next round."""
        for draft in drafts:
            if len(self._waiting) < _MOST_WAITING:
                self._waiting.append(draft)
            elif len(self._incomplete) < _MOST_INCOMPLETE:
                self._incomplete.add(draft.trace_id)

    def forget(self, trace_id: str) -> None:
        """Drop the waiting drafts of a trace, because the server gets the trace itself."""
        if self._waiting:
            self._waiting = deque(draft for draft in self._waiting if draft.trace_id != trace_id)

    def take(self) -> deque[Draft]:
        """Return the waiting drafts."""
        taken, self._waiting = self._waiting, deque()
        return taken

    def show(self, drafts: deque[Draft]) -> bool:
        """Send these drafts, unless the server has failed a short while ago. Never raises.

        Return False if the server does not take drafts.
        """
        try:
            self._show(drafts)
        except Exception as error:  # noqa: BLE001 - protects the worker: only the live view is lost
            failed("the live view", error)
            self._is_refused = True
        if self._is_refused:
            self.close()
        return not self._is_refused

    def _show(self, left: deque[Draft]) -> None:
        while left and self._monotonic() >= self._off_until and self._is_local():
            project, sent, size = _project_of(left[0]), list[Draft](), 0
            items: list[bytes] = []
            while left and len(items) < _MOST_IN_REQUEST and size < _MOST_BYTES and _project_of(left[0]) == project:
                sent.append(left.popleft())
                items.append(self._encoded(sent[-1]))
                size += len(items[-1])
            answer = self._ask("POST", "/local/live", b"[%b]" % b",".join(items), project)
            if isinstance(answer, Answer) and answer.status < 300:
                self._incomplete.difference_update(draft.trace_id for draft in sent)
            else:
                self._off_until = self._monotonic() + _BREAK_S
                left.extendleft(sent)
        if not self._is_refused and len(self._incomplete) < _MOST_INCOMPLETE:
            self._incomplete.update(draft.trace_id for draft in left)

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def reset_after_fork(self) -> None:
        """Start empty in a forked child."""
        if self._transport is not None:
            self._transport.reset_after_fork()
        self._start_empty()

    def _encoded(self, draft: Draft) -> bytes:
        spans = b",".join(parcel.spans.joined for parcel in draft.parcels if parcel.spans)
        mark = b',"is_incomplete":true' if draft.trace_id in self._incomplete else b""
        return b'{"trace_id":"%b","spans":[%b]%b}' % (draft.trace_id.encode(), spans, mark)

    def _is_local(self) -> bool:
        """Return whether the server takes drafts; ask it the first time."""
        if not self._was_asked:
            answer = self._ask("GET", "/health")
            if not isinstance(answer, Answer):
                self._off_until = self._monotonic() + _BREAK_S
                return False
            abilities = abilities_in(answer)
            self._is_refused = abilities is None or not abilities.takes_live_spans
            self._was_asked = True
        return not self._is_refused

    def _ask(self, method: str, path: str, body: bytes | None = None, project: str = "") -> Outcome:
        if self._transport is None:
            self._transport = self._make_transport()
        return self._transport.send(
            Request(method=method, path=path, body=body, timeout_s=self._timeout_s, most_read=4_096, project=project)
        )


def _project_of(draft: Draft) -> str:
    return next((parcel.project for parcel in draft.parcels), "")
