"""Pipeline that delivers: worker, encoder and senders, connected."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from pandaprobe_otel.assembly.assembler import Assembler, Timing, TraceSegment
from pandaprobe_otel.assembly.drafts import Drafts, LiveView
from pandaprobe_otel.assembly.encoder import SegmentEncoder, encoder_for
from pandaprobe_otel.assembly.worker import DURABLE_POLL_S, POLL_S, Worker
from pandaprobe_otel.config.parsers import is_project_name
from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.delivery.budget import LeasedBucket
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.notices import IN_MEMORY, IN_SPOOL, Notices
from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.policy import Dropped
from pandaprobe_otel.delivery.sender_pool import open_sender_pool
from pandaprobe_otel.delivery.spool.destination import can_keep_a_spool, is_something_left
from pandaprobe_otel.delivery.spool.drafts import Draft
from pandaprobe_otel.mapping.clean import encode
from pandaprobe_otel.mapping.options import MappingOptions
from pandaprobe_otel.process.background import in_background, start_thread
from pandaprobe_otel.process.guard import failed
from pandaprobe_otel.process.process_events import finish_with_multiprocessing, watch_process
from pandaprobe_otel.reporting.delivery_status import Status, described
from pandaprobe_otel.reporting.observers import Reading, print_trace, register_metrics
from pandaprobe_otel.reporting.trace_links import TracePages
from pandaprobe_otel.transport.outcome import Transport, api_key_headers
from pandaprobe_otel.transport.socket_transport import delivery_transport
from pandaprobe_otel.transport.trace_file import FileTransport

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

_logger = logging.getLogger("pandaprobe_otel")

_NO_TIME: Final = "the time was too short"
_PREVIEW_BYTES: Final = 4_096
_MOST_SCORES: Final = 10_000
"""Scores that may wait for the worker."""
_LONGEST_END_S: Final = 10.0
"""Longest time beyond the timeout of a shutdown: for a trace that is being encoded, and for a slow disk."""


class ExportPipeline:
    """Pipeline that assembles, maps and delivers traces.

    Its constructor loads all modules that it will need; it starts and connects nothing before the first span.
    """

    def __init__(
        self,
        config: Config,
        *,
        counts_starts: bool,
        is_gateway: bool = False,
        transport: Transport | None = None,
        timing: Timing | None = None,
        bucket: Callable[[], LeasedBucket] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self.selection: Any = config.spans
        self.destination: str | None = config.destination
        self._counts_starts = counts_starts
        # Read the variables now: `init` sets those of other vendors that are still unset.
        self._options = MappingOptions.from_config(config, os.environ)
        self._monotonic = monotonic
        self._is_forked = False
        self._ledger = Ledger()
        half = config.max_queue_bytes // 2
        self._timing = timing or Timing()
        self._is_gateway = is_gateway
        self._has_spool = config.spool is not None and can_keep_a_spool()
        self._inherits = self._has_spool and is_something_left(config)
        self._notices = Notices(monotonic, endpoint=config.endpoint, waiting=IN_SPOOL if self._has_spool else IN_MEMORY)
        self._senders = open_sender_pool(
            config,
            has_spool=self._has_spool,
            transport=transport,
            bucket=bucket,
            ledger=self._ledger,
            notices=self._notices,
            max_bytes=half,
            keeps_all=is_gateway,
            monotonic=monotonic,
        )
        may_be_live = counts_starts and not is_gateway and transport is None and config.shows_running_spans
        drafts = Drafts(
            encoder=self._draft_encoder,
            write=self._write_drafts if self._has_spool else None,
            live=LiveView(self._live_transport, timeout_s=self._timing.live_timeout_s, monotonic=monotonic)
            if may_be_live
            else None,
        )
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
            waiting_elsewhere=lambda: self._senders.policy.outbox.fill * half,
            may_cut=not self._options.masks,
            on_first_span=lambda: finish_with_multiprocessing(self),
            also=self._put_scores,
            drafts=drafts if may_be_live or self._has_spool else None,
            poll_s=DURABLE_POLL_S if self._has_spool else POLL_S,
            monotonic=monotonic,
        )
        self.started = self._worker.started
        self.ended = self._worker.ended
        self.logged = self._worker.logged
        self.is_closed = False
        """True after `shutdown`."""
        self._scores: deque[Parcel] = deque()
        self._encoder: SegmentEncoder | None = None
        self._pages = TracePages(None if config.local else config.endpoint, named=config.trace_url)
        self._newest_trace: str | None = None
        self._traces = 0
        self._close_lock = threading.Lock()
        watch_process(self, at_exit_too=counts_starts, patience_s=config.shutdown_timeout_s)
        if self._inherits:
            self._senders.is_used = True  # at once, because a flush must wait for what the thread finds
            start_thread(self._senders.begin, "pandaprobe-heir")

    def begin(self) -> None:
        """Send what earlier processes have left in the spool."""
        self._senders.begin()

    def _draft_encoder(self) -> SegmentEncoder:
        """Return an encoder that counts nothing. A local server gets no more than previews of content."""
        options = self._options if self._has_spool else replace(self._options, max_field_bytes=_PREVIEW_BYTES)
        return encoder_for(self.config, options, Ledger(), is_marked=self._counts_starts)

    def _write_drafts(self, drafts: Sequence[Draft]) -> bool:
        return self._senders.put((), drafts)

    def _live_transport(self) -> Transport:
        # A function that gives the key is for the senders only.
        headers = api_key_headers(self.config.fixed_key or "", self.config.project_name)
        return delivery_transport(self.config.endpoint, headers)

    @property
    def content_problems(self) -> tuple[str, ...]:
        """Problems with the settings about content, and their consequences."""
        return self._options.problems

    def _deliver(self, segment: TraceSegment) -> None:
        if self._encoder is None:
            self._encoder = encoder_for(self.config, self._options, self._ledger, is_marked=self._counts_starts)
            register_metrics(self.reading)
        was_running = segment.memory.running
        requests: list[Parcel] = []
        try:
            requests = self._encoder.encode(segment)
            for parcel in requests:  # before the senders own them
                if parcel.step is Step.CREATE:
                    self._newest_trace = parcel.trace_id
                    self._traces += 1
                    if self.config.console:
                        print_trace(parcel)
        finally:
            drafts = self._worker.drafts
            self._senders.put(requests, () if drafts is None else drafts.replaced(segment, was_running=was_running))

    def receive(self, spans: Sequence[ReadableSpan], deadline: float) -> bool:
        """Take over ended spans in the calling thread; return False if the monotonic deadline passes first."""
        return self._worker.receive(spans, deadline)

    def unsampled(self) -> None:
        """Count a span that was not recorded, because its parent is not sampled."""
        self._ledger.refused("sampled_by_parent")

    def reading(self) -> Reading:
        """Return the current values of the metrics."""
        return Reading(counts=self._ledger.read(), fill=self.fill())

    def fill(self) -> float:
        """Return the fill level of the send queue, from 0 to 1."""
        return self._senders.policy.outbox.fill

    def flush(self, timeout: float = 30.0) -> bool:
        """Deliver every trace whose root has ended, within `timeout` seconds.

        Return True if nothing is left to send or, with a spool, if the rest is on disk.
        """
        if self._is_unused:
            return True
        timeout_s = max(timeout, 0.0)
        deadline = self._monotonic() + timeout_s
        return in_background(lambda: self._flush(deadline), name="flush", timeout_s=timeout_s, late=False)

    def _flush(self, deadline: float) -> bool:
        return self._worker.flush(deadline) and (not self._senders.is_used or self._senders.wait_idle(deadline))

    def shutdown(self, timeout: float | None = None) -> bool:
        """Deliver as much as possible before the timeout; return True if nothing was dropped.

        The rest is dropped and counted. With a spool, it stays on disk for the next process.
        """
        timeout_s = self.config.shutdown_timeout_s if timeout is None else max(timeout, 0.0)
        deadline = self._monotonic() + timeout_s
        if self._is_unused:
            return self._close(deadline)
        longest_s = timeout_s + _LONGEST_END_S
        return in_background(lambda: self._close(deadline), name="shutdown", timeout_s=longest_s, late=False)

    def _close(self, deadline: float) -> bool:
        # Another caller waits until the first has finished.
        wait_s = deadline - self._monotonic() + _LONGEST_END_S
        if not self._close_lock.acquire(timeout=min(max(wait_s, 0.0), threading.TIMEOUT_MAX)):
            return False
        try:
            if self.is_closed:
                return True
            self.is_closed = True
            return self._finish(deadline)
        finally:
            self._close_lock.release()

    @property
    def _is_unused(self) -> bool:
        """True if there has been nothing to send, so that no thread is needed to find this out."""
        return self._worker.is_unused and not self._senders.is_used and not self._scores

    def _finish(self, deadline: float) -> bool:
        late = self._worker.close(deadline)
        if (drafts := self._worker.drafts) is not None and drafts.live is not None:
            drafts.live.close()
        senders = self._senders
        dropped = senders.close(deadline) if senders.is_used else Dropped()
        last_error = senders.policy.last_error
        if dropped is None:
            spans, scores, ends = max(late, self._ledger.read().pending), 0, 0
        else:
            spans, scores, ends = late + dropped.spans, dropped.scores, dropped.ends
        if senders.left_behind:
            _log_left_behind(senders.left_behind, self.config.spool, last_error)
        _log_losses(spans, scores, ends, last_error, is_late=self._monotonic() >= deadline)
        return not (spans or scores or ends)

    def put_score(self, body: Mapping[str, Any], project: str = "") -> None:
        """Send a score as soon as its trace is stored, from the worker thread, because a spool writes to disk.

        `project`: that of the trace, if it is not that of the settings.
        """
        fields = encode(body).encode()
        if self.is_closed or len(self._scores) >= _MOST_SCORES:
            self._ledger.score_dropped("after_shutdown" if self.is_closed else "queue_full")
            return
        if project and not is_project_name(project):
            self._ledger.score_dropped("invalid_project")
            return
        self._scores.append(
            Parcel(
                step=Step.SCORE,
                trace_id=str(body["trace_id"]),
                fields=fields,
                name=str(body["name"]),
                project=project,
            )
        )
        self._worker.call()

    def _put_scores(self) -> None:
        if not self._scores:
            return
        scores = [self._scores.popleft() for _ in range(len(self._scores))]
        try:
            self._senders.put(scores)
        except Exception as error:  # noqa: BLE001 - protects the worker and the app, which both call this
            for _ in scores:
                failed("sending a score", error)
                self._ledger.score_dropped("internal_error")

    def trace_url(self, trace_id: str) -> str | None:
        """Return the address of a trace's page; None if it is not known. The first use may ask a local server."""
        return self._pages.page(trace_id)

    def report_end(self) -> None:
        """Print where the newest trace is, if standard error is a terminal and everything was delivered."""
        counts = self._ledger.read()
        if self._newest_trace is None or self._is_forked or counts.pending or counts.traces_delivered < self._traces:
            return
        self._pages.report_end(self._newest_trace, counts.traces_delivered, sys.stderr)

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
            last_error=self._senders.policy.last_error,
            **described(self.config, self._options.problems),
        )

    def before_fork(self) -> None:
        """Prepare for a fork; called in the parent."""
        self._senders.before_fork()

    def after_fork_in_parent(self) -> None:
        """Go on after a fork; called in the parent."""
        self._senders.after_fork_in_parent()

    def reset_after_fork(self) -> None:
        """Start empty in a forked child, with new locks and threads; the parent keeps its spans."""
        self._close_lock = threading.Lock()
        self._is_forked = True
        self._ledger.reset()
        self._notices.reset()
        self._senders.reset_after_fork()
        if (drafts := self._worker.drafts) is not None:
            drafts.reset_after_fork()
        self._scores.clear()
        self._worker.reset_after_fork()


def file_pipeline(config: Config, path: str, *, counts_starts: bool) -> ExportPipeline:
    """Return a pipeline that writes to a file, without a rate limit."""
    return ExportPipeline(
        config,
        counts_starts=counts_starts,
        transport=FileTransport(path),
        bucket=lambda: LeasedBucket(window_s=0.0, margin_s=0.0),
    )


def _log_left_behind(spans: int, spool: str | None, last_error: str | None) -> None:
    """Log that spans wait in the spool."""
    _logger.warning(
        "pandaprobe-otel: %d spans wait in the spool %s (%s); the next process that uses it sends them.",
        spans,
        spool,
        last_error or _NO_TIME,
    )


def _log_losses(spans: int, scores: int, ends: int, last_error: str | None, *, is_late: bool) -> None:
    """Log lost spans, scores and ends of traces, if there are any. `is_late`: the time for delivery was used up."""
    reason = last_error or _NO_TIME
    if spans:
        _logger.warning(
            "pandaprobe-otel: %d spans were not delivered when the process ended (%s). %s",
            spans,
            reason,
            "Raise PANDAPROBE_SHUTDOWN_TIMEOUT, or set PANDAPROBE_SPOOL_DIR to keep them on disk."
            if is_late
            else "Set PANDAPROBE_SPOOL_DIR to keep them on disk.",
        )
    if scores:
        _logger.warning(
            "pandaprobe-otel: %s not delivered when the process ended (%s). A score is sent once PandaProbe has its "
            "trace: check the trace id, or set PANDAPROBE_SHUTDOWN_TIMEOUT to wait longer.",
            "1 score was" if scores == 1 else f"{scores} scores were",
            reason,
        )
    if ends:
        _logger.warning(
            "pandaprobe-otel: %d traces stay RUNNING: their end was not delivered when the process ended (%s).",
            ends,
            reason,
        )
