"""Pipeline that delivers: worker, encoder and senders, connected."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.pipeline.losses import tell_left_behind, tell_losses
from pandaprobe_otel.process.forks import ForkedWhileLoadingError, loading
from pandaprobe_otel.process.guard import failed
from pandaprobe_otel.process.process_events import finish_with_multiprocessing, watch_process
from pandaprobe_otel.reporting.delivery_status import Status, described

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from pandaprobe_otel.assembly.encoder import SegmentEncoder
    from pandaprobe_otel.assembly.journal import SpanEvent, SpanJournal
    from pandaprobe_otel.assembly.live_spans import LiveSpans
    from pandaprobe_otel.assembly.timing import Timing
    from pandaprobe_otel.assembly.trace_buffer import TraceSegment
    from pandaprobe_otel.delivery.budget import LeasedBucket
    from pandaprobe_otel.delivery.ledger import Ledger
    from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest
    from pandaprobe_otel.delivery.sender_pool import SenderPool
    from pandaprobe_otel.delivery.spool.rows import JournalRow, TraceState
    from pandaprobe_otel.reporting.console import TraceConsole
    from pandaprobe_otel.reporting.trace_links import TracePages
    from pandaprobe_otel.transport.request_outcome import Transport

_logger = logging.getLogger("pandaprobe_otel")

_MOST_SCORES: Final = 1000
"""Scores that may wait for the worker."""


class ExportPipeline:
    """Pipeline that assembles, maps and delivers traces.

    It loads, starts and connects nothing before the first span.
    """

    def __init__(
        self,
        config: Config,
        *,
        counts_starts: bool,
        is_gateway: bool = False,
        keeps_all: bool = False,
        transport: Transport | None = None,
        timing: Timing | None = None,
        bucket: Callable[[], LeasedBucket] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        from pandaprobe_otel.assembly.assembler import Assembler
        from pandaprobe_otel.assembly.timing import Timing
        from pandaprobe_otel.assembly.worker import Worker
        from pandaprobe_otel.delivery.ledger import Ledger
        from pandaprobe_otel.delivery.notices import Notices
        from pandaprobe_otel.mapping.options import MappingOptions

        self.config = config
        self.selection: Any = config.spans
        self.destination: str | None = config.destination
        self._counts_starts = counts_starts
        # Read the variables now: `init` sets those of other vendors that are still unset.
        self._options = MappingOptions.from_config(config, os.environ)
        self._monotonic = monotonic
        self._is_forked = False
        self._ledger = Ledger()
        self._notices = Notices(monotonic)
        half = config.max_queue_bytes // 2
        self._timing = timing or Timing()
        self._is_gateway = is_gateway
        self._keeps_all = keeps_all
        self._transport = transport
        self._bucket = bucket
        self._has_spool = self._inherits = False
        if config.spool is not None:
            from pandaprobe_otel.delivery.spool.destination import is_something_left
            from pandaprobe_otel.delivery.spool.platform import can_keep_a_spool

            self._has_spool = can_keep_a_spool()
            self._inherits = self._has_spool and is_something_left(config)
        may_be_live = counts_starts and not is_gateway and transport is None and config.shows_running_spans
        self._live: LiveSpans | None = None
        self._open_lock = threading.Lock()
        self._senders: SenderPool | None = None
        self._journal: SpanJournal | None = None
        self._worker = Worker(
            assembler=lambda: Assembler(
                timing=self._timing,
                counts_starts=counts_starts,
                max_bytes=half,
                is_forked=self._is_forked,
                awaits_root=is_gateway,
            ),
            deliver=self._deliver,
            ledger=self._ledger,
            notices=self._notices,
            max_bytes=config.max_queue_bytes,
            waiting_elsewhere=lambda: self.fill() * half,
            may_cut=not self._options.masks,
            on_first_span=lambda: finish_with_multiprocessing(self),
            also=self._put_scores,
            journal=self._write_down if self._has_spool else None,
            watch=self._watch if may_be_live else None,
            after=lambda: None if self._live is None else self._live.send(),
            monotonic=monotonic,
        )
        self.started = self._worker.started
        self.ended = self._worker.ended
        self.logged = self._worker.logged
        self.is_closed = False
        """True after `shutdown`."""
        self._scores: deque[OutgoingRequest] = deque()
        self._encoder: SegmentEncoder | None = None
        self._console: TraceConsole | None = None
        if config.console:
            from pandaprobe_otel.reporting.console import TraceConsole

            self._console = TraceConsole()
        self._pages: TracePages | None = None
        self._close_lock = threading.Lock()
        watch_process(self, at_exit_too=counts_starts, patience_s=config.shutdown_timeout_s)
        if self._inherits:
            threading.Thread(target=self.begin, name="pandaprobe-heir", daemon=True).start()

    def begin(self) -> None:
        """Send what earlier processes have left in the spool."""
        try:
            self._opened().begin()
        except ForkedWhileLoadingError as error:
            failed("delivery of the spool", error)

    def _opened(self) -> SenderPool:
        """Return the delivery, created on first use so that apps that never trace do not load it."""
        if self._senders is None:
            with loading(), self._open_lock:
                if self._senders is None:
                    from pandaprobe_otel.delivery.delivery_setup import open_sender_pool

                    self._senders = open_sender_pool(
                        self.config,
                        has_spool=self._has_spool,
                        transport=self._transport,
                        bucket=self._bucket,
                        recover=self._recover,
                        ledger=self._ledger,
                        notices=self._notices,
                        max_bytes=self.config.max_queue_bytes // 2,
                        keeps_all=self._keeps_all,
                        monotonic=self._monotonic,
                    )
        return self._senders

    def _recover(self, rows: Sequence[JournalRow], states: Sequence[TraceState]) -> Sequence[OutgoingRequest]:
        """Make requests from the incomplete traces in the journal of a crashed process."""
        from pandaprobe_otel.assembly.recovery import recovered
        from pandaprobe_otel.delivery.ledger import Ledger

        return recovered(rows, states, lambda: self._load_encoder(Ledger()))

    def _load_encoder(self, ledger: Ledger) -> SegmentEncoder:
        """Load the encoder, for the first segment: apps that never trace do not load the mapping and its tables."""
        from pandaprobe_otel.assembly.encoder import loaded_encoder

        return loaded_encoder(self.config, self._options, ledger, is_marked=self._counts_starts)

    @property
    def content_problems(self) -> tuple[str, ...]:
        """Problems with the settings about content, and their consequences."""
        return self._options.problems

    def _observe(self) -> None:
        from pandaprobe_otel.reporting.self_telemetry import Reading, observe

        ref = weakref.ref(self)

        def read() -> Reading | None:
            if (alive := ref()) is None:
                return None
            senders = alive._senders
            kept_share = 1.0 if senders is None else senders.policy.kept_share
            return Reading(counts=alive._ledger.read(), fill=alive.fill(), kept_share=kept_share)

        observe(read)

    def _deliver(self, segment: TraceSegment) -> None:
        if self._encoder is None:
            with loading():
                self._observe()
                self._encoder = self._load_encoder(self._ledger)
                self._trace_pages()
        if self._live is not None and not segment.open:
            self._live.delivered(segment.trace_id)
        requests: list[OutgoingRequest] = []
        try:
            requests = self._encoder.encode(segment)
        finally:
            journal = () if self._journal is None else self._journal.taken(segment)
            (self._senders or self._opened()).put(requests, journal)
        (self._pages or self._trace_pages()).note(requests)
        if self._console is not None:
            self._console.show(requests)

    def _write_down(self, events: Sequence[SpanEvent]) -> None:
        if self._journal is None:
            with loading():
                self._journal = self._make_journal()
            self.begin()
        if changes := self._journal.record(events):
            self._opened().put((), changes)

    def _make_journal(self) -> SpanJournal:
        """Return a journal, which omits content if `mask` is set or `capture` leaves content out.

        Neither setting can be applied to a single span.
        """
        from pandaprobe_otel.assembly.journal import SpanJournal

        config = self.config
        content = config.capture == "all" and config.mask is None
        # A gateway also records traces without a GenAI span so far: one may still arrive from another service.
        all_spans = self._is_gateway or config.spans != "agent"
        return SpanJournal(content=content, all_spans=all_spans, is_forked=self._is_forked)

    def receive(self, spans: Sequence[ReadableSpan], deadline: float) -> bool:
        """Take over ended spans in the calling thread; return False if the monotonic deadline passes first."""
        return self._worker.receive(spans, deadline)

    def fill(self) -> float:
        """Return the fill level of the send queue, from 0 to 1."""
        return 0.0 if self._senders is None else self._senders.policy.outbox.fill

    def is_choosing(self) -> bool:
        """Return whether traces are being dropped because arrivals have exceeded the rate limit for minutes."""
        return self._senders is not None and self._senders.policy.is_choosing(self._monotonic())

    def flush(self, timeout: float = 30.0) -> bool:
        """Deliver every trace whose root has ended, within `timeout` seconds.

        Return True if nothing is left to send or, with a spool, if the rest is on disk.
        """
        deadline = self._monotonic() + max(timeout, 0.0)
        if not self._worker.flush(deadline):
            return False
        try:
            senders = self._opened() if self._inherits else self._senders
        except ForkedWhileLoadingError:  # `begin` has logged it
            return False
        return senders is None or senders.wait_idle(deadline)

    def shutdown(self, timeout: float | None = None) -> bool:
        """Deliver as much as possible before the timeout; return True if nothing was dropped.

        The rest is dropped and counted. With a spool, it stays on disk for the next process.
        """
        with self._close_lock:
            if self.is_closed:
                return True
            self.is_closed = True
        deadline = self._monotonic() + (self.config.shutdown_timeout_s if timeout is None else max(timeout, 0.0))
        late = self._worker.close(deadline)
        if self._live is not None:
            self._live.close()
        senders, last_error = self._senders, None
        spans, scores, ends = late, 0, 0
        if senders is not None:
            dropped, last_error = senders.close(deadline), senders.policy.last_error
            if dropped is None:
                spans = max(late, self._ledger.read().pending)
            else:
                spans, scores, ends = late + dropped.spans, dropped.scores, dropped.ends
            if senders.left_behind:
                tell_left_behind(senders.left_behind, self.config.spool, last_error)
        tell_losses(spans, scores, ends, last_error, is_late=self._monotonic() >= deadline)
        return not (spans or scores or ends)

    def put_score(self, body: Mapping[str, Any]) -> None:
        """Send a score as soon as its trace is stored, from the worker thread, because a spool writes to disk."""
        from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest, Step
        from pandaprobe_otel.mapping.clean import encode

        fields = encode(body).encode()
        self._scores.append(
            OutgoingRequest(step=Step.SCORE, trace_id=str(body["trace_id"]), fields=fields, name=str(body["name"]))
        )
        if self.is_closed or len(self._scores) > _MOST_SCORES:  # the worker has stopped or cannot keep up
            self._put_scores()
        else:
            self._worker.call()

    def _watch(self, events: Sequence[SpanEvent]) -> None:
        """Report starts and ends to the live view, from the worker thread."""
        try:
            if self._live is None:
                with loading():
                    from pandaprobe_otel.assembly.live_spans import live_spans

                    self._live = live_spans(
                        self.config,
                        self._options,
                        timeout_s=self._timing.live_timeout_s,
                        monotonic=self._monotonic,
                    )
            if self._live.is_refused:
                self._worker.stop_watching()
                self._live.close()
                self._live = None
            else:
                self._live.take(events)
        except Exception as error:  # noqa: BLE001 - protects the worker: only the live view is lost
            failed("the live view", error)

    def _put_scores(self) -> None:
        scores: list[OutgoingRequest] = []
        with suppress(IndexError):  # the worker and the app take scores at the same time
            for _ in range(len(self._scores)):
                scores.append(self._scores.popleft())  # noqa: PERF401 - what was taken stays if there is no more
        if not scores:
            return
        try:
            self._opened().put(scores)
        except Exception as error:  # noqa: BLE001 - protects the worker and the app, which both call this
            for _ in scores:
                failed("sending a score", error)
                self._ledger.score_dropped("internal_error")

    def trace_url(self, trace_id: str) -> str | None:
        """Return the address of a trace's page; None if it is not known. The first use may ask a local server."""
        return self._trace_pages().page(trace_id)

    def _trace_pages(self) -> TracePages:
        if self._pages is None:
            from pandaprobe_otel.reporting.trace_links import TracePages

            config = self.config
            self._pages = TracePages(None if config.local else config.endpoint, named=config.trace_url)
        return self._pages

    def tell_end(self) -> None:
        """Print where the newest trace is, if standard error is a terminal and everything was delivered."""
        if self._pages is not None and not self._is_forked:
            self._pages.tell_end(self._ledger.read(), sys.stderr)

    def status(self) -> Status:
        """Return the current counts."""
        counts = self._ledger.read()
        return Status(
            enabled=True,
            spans_ended=counts.ended,
            spans_delivered=counts.delivered,
            spans_pending=counts.pending,
            spans_dropped=counts.dropped,
            scores_dropped=counts.scores_dropped,
            traces_delivered=counts.traces_delivered,
            answers=counts.answers,
            last_error=None if self._senders is None else self._senders.policy.last_error,
            **described(self.config, self._options.problems),
        )

    def before_fork(self) -> None:
        """Prepare for a fork; called in the parent."""
        if self._senders is not None:
            self._senders.before_fork()

    def after_fork_in_parent(self) -> None:
        """Go on after a fork; called in the parent."""
        if self._senders is not None:
            self._senders.after_fork_in_parent()

    def reset_after_fork(self) -> None:
        """Start empty in a forked child, with new locks and threads; the parent keeps its spans."""
        self._close_lock = threading.Lock()
        self._open_lock = threading.Lock()
        self._is_forked = True
        self._ledger.reset()
        self._notices.reset()
        if self._senders is not None:
            self._senders.reset_after_fork()
        self._journal = None
        if self._live is not None:
            self._live.reset_after_fork()
        self._scores.clear()
        self._worker.reset_after_fork()
