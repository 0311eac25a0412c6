"""The way of a span, put together: worker, encoder, delivery."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.process.forks import ForkedWhileLoadingError, loading
from pandaprobe_otel.process.guard import failed
from pandaprobe_otel.process.life import finish_with_multiprocessing, watch_process
from pandaprobe_otel.reporting.report import Status, described

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from pandaprobe_otel.assembly.encoder import PartEncoder
    from pandaprobe_otel.assembly.journal import SpanJournal
    from pandaprobe_otel.assembly.timing import Timing
    from pandaprobe_otel.assembly.trace_buffer import Part
    from pandaprobe_otel.delivery.budget import LeasedBucket
    from pandaprobe_otel.delivery.delivery import Delivery
    from pandaprobe_otel.delivery.ledger import Ledger
    from pandaprobe_otel.delivery.parcel import Parcel
    from pandaprobe_otel.delivery.spool.rows import JournalRow, TraceState
    from pandaprobe_otel.reporting.console import TraceConsole
    from pandaprobe_otel.transport.messages import Transport

_logger = logging.getLogger("pandaprobe_otel")

_was_opened = False
_NO_TIME: Final = "the time was too short"
_MOST_SCORES: Final = 1000
"""Scores that may wait for the worker."""
_SPECIMEN: Final = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 1}


class Pipeline(Protocol):
    """What processors, exporters and the handle of `init` need."""

    @property
    def config(self) -> Config:
        """The settings."""
        ...

    @property
    def selection(self) -> Any:
        """Which spans go out: the setting `spans`. None: none at all."""
        ...

    @property
    def destination(self) -> str | None:
        """Where traces go. None: nowhere."""
        ...

    def started(self, span: ReadableSpan) -> None:
        """A span has started."""
        ...

    def ended(self, span: ReadableSpan) -> None:
        """A span has ended."""
        ...

    def logged(self, record: Any) -> None:
        """A log record with content of a span."""
        ...

    def flush(self, timeout: float = 30.0) -> bool:
        """Deliver what is complete, in `timeout` seconds."""
        ...

    def shutdown(self, timeout: float | None = None) -> bool:
        """Deliver what can be delivered, then stop."""
        ...

    @property
    def is_closed(self) -> bool:
        """Whether it was shut down."""
        ...

    def put_score(self, body: Mapping[str, Any]) -> None:
        """Send a score after its trace."""
        ...

    def status(self) -> Status:
        """Read the counts."""
        ...


def open_pipeline(config: Config, *, counts_starts: bool, is_gateway: bool = False) -> Pipeline:
    """The pipeline for these settings: one that delivers, or, where they cannot work, one that ignores everything.

    `is_gateway`: spans of any number of services come here, so a root may still come when its children are there.
    Problems are logged here, one line each, naming the setting's source and the remedy.
    """
    global _was_opened
    _was_opened = True
    for problem in config.problems:
        _logger.warning("pandaprobe-otel: %s", problem.message)
    if not config.usable:
        return IdlePipeline(config)
    if config.local is None:
        pipeline = ExportPipeline(config, counts_starts=counts_starts, is_gateway=is_gateway)
    else:
        pipeline = _file_pipeline(config, config.local, counts_starts=counts_starts)
    for message in pipeline.content_problems:
        _logger.warning("pandaprobe-otel: %s", message)
    return pipeline


def was_opened() -> bool:
    """Whether anybody has opened a pipeline in this process: `init()`, a processor or an exporter."""
    return _was_opened


def _file_pipeline(config: Config, path: str, *, counts_starts: bool) -> ExportPipeline:
    """A pipeline that ends in a file, which is under no limit."""
    from pandaprobe_otel.delivery.budget import LeasedBucket
    from pandaprobe_otel.transport.file import FileTransport

    return ExportPipeline(
        config,
        counts_starts=counts_starts,
        transport=FileTransport(path),
        bucket=lambda: LeasedBucket(window_s=0.0, margin_s=0.0),
    )


class IdlePipeline:
    """Ignores every span: the settings say so, or cannot work."""

    selection: Any = None
    destination: str | None = None

    def __init__(self, config: Config) -> None:
        self.config = self._config = config

    def started(self, span: ReadableSpan) -> None:
        """Ignore."""

    def ended(self, span: ReadableSpan) -> None:
        """Ignore."""

    def logged(self, record: Any) -> None:
        """Ignore."""

    def flush(self, timeout: float = 30.0) -> bool:
        """Nothing waits."""
        return True

    def shutdown(self, timeout: float | None = None) -> bool:
        """Nothing waits."""
        return True

    @property
    def is_closed(self) -> bool:
        """Never: there is nothing to close."""
        return False

    def put_score(self, body: Mapping[str, Any]) -> None:
        """Ignore."""

    def status(self) -> Status:
        """All zero, with the reason in `problems`."""
        return Status(enabled=False, **described(self._config))


class ExportPipeline:
    """Assembles, maps and delivers. Nothing is loaded, started or connected before the first span."""

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
        from pandaprobe_otel.assembly.assembler import Assembler
        from pandaprobe_otel.assembly.timing import Timing
        from pandaprobe_otel.assembly.worker import Worker
        from pandaprobe_otel.delivery.ledger import Ledger
        from pandaprobe_otel.delivery.notices import Notices
        from pandaprobe_otel.mapping.options import MappingOptions

        self.config = self._config = config
        self.selection: Any = config.spans
        self.destination: str | None = config.destination
        self._counts_starts = counts_starts
        # Now, before `init` sets the variables of other vendors that nobody has set.
        self._options = MappingOptions.from_config(config, os.environ)
        self._monotonic = monotonic
        self._is_forked = False
        self._ledger = Ledger()
        self._notices = Notices(monotonic)
        half = config.max_queue_bytes // 2
        self._is_gateway = is_gateway
        self._transport = transport
        self._bucket = bucket
        self._has_spool = _has_spool(config)
        self._open_lock = threading.Lock()
        self._delivery: Delivery | None = None
        self._journal: SpanJournal | None = None
        self._worker = Worker(
            assembler=lambda: Assembler(
                timing=timing or Timing(),
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
            monotonic=monotonic,
        )
        self.started = self._worker.started
        self.ended = self._worker.ended
        self.logged = self._worker.logged
        self._closed = False
        self._scores: deque[Parcel] = deque()
        self._encoder: PartEncoder | None = None
        self._console: TraceConsole | None = None
        if config.console:
            from pandaprobe_otel.reporting.console import TraceConsole

            self._console = TraceConsole()
        self._close_lock = threading.Lock()
        watch_process(self, at_exit_too=counts_starts)
        self._inherits = self._has_spool and _is_something_left(config)
        if self._inherits:
            threading.Thread(target=self.begin, name="pandaprobe-heir", daemon=True).start()

    def begin(self) -> None:
        """Look for what earlier processes have left in the spool, and send it."""
        try:
            self._opened().begin()
        except ForkedWhileLoadingError as error:
            failed("delivery of the spool", error)

    def _opened(self) -> Delivery:
        """The delivery, made with the first thing to deliver: apps that never trace load nothing of it."""
        if self._delivery is None:
            with loading(), self._open_lock:
                if self._delivery is None:
                    from pandaprobe_otel.delivery.setup import open_delivery

                    self._delivery = open_delivery(
                        self._config,
                        has_spool=self._has_spool,
                        transport=self._transport,
                        bucket=self._bucket,
                        recover=self._recover,
                        ledger=self._ledger,
                        notices=self._notices,
                        max_bytes=self._config.max_queue_bytes // 2,
                        monotonic=self._monotonic,
                    )
        return self._delivery

    def _recover(self, rows: Sequence[JournalRow], states: Sequence[TraceState]) -> Sequence[Parcel]:
        """Make parcels of what a crashed process had written down of traces that were not complete."""
        from pandaprobe_otel.assembly.recovery import recovered
        from pandaprobe_otel.delivery.ledger import Ledger

        return recovered(rows, states, lambda: self._load_encoder(Ledger()))

    def _load_encoder(self, ledger: Ledger) -> PartEncoder:
        """Built by the worker with the first part: apps that never trace do not load the mapping and its tables."""
        from pandaprobe_otel.assembly.encoder import PartEncoder
        from pandaprobe_otel.assembly.span_filter import SpanFilter
        from pandaprobe_otel.mapping import SpanView, map_views

        # A specimen, so that what the mapping loads on its way is loaded now, while forks are held back.
        map_views((SpanView("specimen", 1, 1, attributes=_SPECIMEN),), options=self._options)
        return PartEncoder(
            span_filter=SpanFilter(self._config.spans, is_marked=self._counts_starts),
            options=self._options,
            ledger=ledger,
            sample_rate=self._config.sample_rate,
        )

    @property
    def content_problems(self) -> tuple[str, ...]:
        """What of the settings about content cannot be used, and what that means."""
        return self._options.problems

    def _observe(self) -> None:
        from pandaprobe_otel.reporting.self_telemetry import Reading, observe

        ref = weakref.ref(self)

        def read() -> Reading | None:
            if (alive := ref()) is None:
                return None
            delivery = alive._delivery
            kept_share = 1.0 if delivery is None else delivery.kept_share
            return Reading(counts=alive._ledger.read(), fill=alive.fill(), kept_share=kept_share)

        observe(read)

    def _deliver(self, part: Part) -> None:
        if self._encoder is None:
            with loading():
                self._observe()
                self._encoder = self._load_encoder(self._ledger)
        parcels: list[Parcel] = []
        try:
            parcels = self._encoder.encode(part)
        finally:
            journal = () if self._journal is None else self._journal.taken(part)
            self._opened().put(parcels, journal)
        if self._console is not None:
            self._console.show(parcels)

    def _write_down(self, events: Sequence[tuple[ReadableSpan, bool]]) -> None:
        if self._journal is None:
            with loading():
                self._journal = self._make_journal()
            self.begin()
        if changes := self._journal.record(events):
            self._opened().put((), changes)

    def _make_journal(self) -> SpanJournal:
        """With `mask` or a `capture` that leaves out content, nothing of the content is written down.

        Neither can be applied to a span by itself.
        """
        from pandaprobe_otel.assembly.journal import SpanJournal

        config = self._config
        content = config.capture == "all" and config.mask is None
        # In a gateway, also what would not be sent as far as can be seen by now.
        all_spans = self._is_gateway or config.spans != "agent"
        return SpanJournal(content=content, all_spans=all_spans, is_forked=self._is_forked)

    def receive(self, spans: Sequence[ReadableSpan], deadline: float) -> bool:
        """Take over ended spans in the calling thread; False when there was no time for it (a monotonic time)."""
        return self._worker.receive(spans, deadline)

    def fill(self) -> float:
        """How full the place is where traces wait for PandaProbe; from 0 to 1."""
        return 0.0 if self._delivery is None else self._delivery.fill

    def is_choosing(self) -> bool:
        """Whether traces are left out, since for minutes more have come than the limit lets through."""
        return self._delivery is not None and self._delivery.is_choosing

    def flush(self, timeout: float = 30.0) -> bool:
        """Deliver every trace whose root has ended, in `timeout` seconds at most.

        True when nothing of them is left to be sent; with a spool, when what is left is on disk.
        """
        deadline = self._monotonic() + max(timeout, 0.0)
        if not self._worker.flush(deadline):
            return False
        try:
            delivery = self._opened() if self._inherits else self._delivery
        except ForkedWhileLoadingError:  # which `begin` has told
            return False
        return delivery is None or delivery.wait_idle(deadline)

    def shutdown(self, timeout: float | None = None) -> bool:
        """Deliver what can be delivered before the timeout; True when nothing was dropped.

        The rest is dropped and counted; with a spool, it stays there for the next process.
        """
        with self._close_lock:
            if self._closed:
                return True
            self._closed = True
        deadline = self._monotonic() + (self._config.shutdown_timeout_s if timeout is None else max(timeout, 0.0))
        late = self._worker.close(deadline)
        delivery = self._delivery
        if delivery is None:
            return self._told_loss(late, 0, deadline)
        dropped = delivery.close(deadline)
        if dropped is None:
            return self._told_loss(max(late, self._ledger.read().pending), 0, deadline)
        if delivery.left_behind:
            _logger.warning(
                "pandaprobe-otel: %d spans wait in the spool %s (%s); the next process that uses it sends them.",
                delivery.left_behind,
                self._config.spool,
                delivery.last_error or _NO_TIME,
            )
        return self._told_loss(late + dropped.spans, dropped.ends, deadline)

    def _told_loss(self, spans: int, ends: int, deadline: float) -> bool:
        """Say what was lost at the end; True when that is nothing."""
        last_error = None if self._delivery is None else self._delivery.last_error
        if spans:
            _logger.warning(
                "pandaprobe-otel: %d spans were not delivered when the process ended (%s). %s",
                spans,
                last_error or _NO_TIME,
                "PANDAPROBE_SHUTDOWN_TIMEOUT gives it more time, PANDAPROBE_SPOOL_DIR a place to wait in."
                if self._monotonic() >= deadline
                else "PANDAPROBE_SPOOL_DIR gives them a place to wait in.",
            )
        if ends:
            _logger.warning(
                "pandaprobe-otel: %d traces stay RUNNING: their end was not delivered when the process ended (%s).",
                ends,
                last_error or _NO_TIME,
            )
        return not (spans or ends)

    @property
    def is_closed(self) -> bool:
        """Whether it was shut down."""
        return self._closed

    def put_score(self, body: Mapping[str, Any]) -> None:
        """Send a score as soon as its trace is stored. The worker takes it over: a spool means writing to disk."""
        from pandaprobe_otel.delivery.parcel import Parcel, Step
        from pandaprobe_otel.mapping.clean import encode

        fields = encode(body).encode()
        self._scores.append(
            Parcel(step=Step.SCORE, trace_id=str(body["trace_id"]), fields=fields, name=str(body["name"]))
        )
        if self._closed or len(self._scores) > _MOST_SCORES:  # the worker has gone, or does not keep up
            self._put_scores()
        else:
            self._worker.call()

    def _put_scores(self) -> None:
        scores = [self._scores.popleft() for _ in range(len(self._scores))]
        if not scores:
            return
        try:
            self._opened().put(scores)
        except Exception as error:  # noqa: BLE001 - the guard of the worker, which calls this, and of the app
            for _ in scores:
                failed("sending a score", error)

    def status(self) -> Status:
        """Read the counts."""
        counts = self._ledger.read()
        return Status(
            enabled=True,
            spans_ended=counts.ended,
            spans_delivered=counts.delivered,
            spans_pending=counts.pending,
            spans_dropped=counts.dropped,
            traces_delivered=counts.traces_delivered,
            answers=counts.answers,
            last_error=None if self._delivery is None else self._delivery.last_error,
            **described(self._config, self._options.problems),
        )

    def before_fork(self) -> None:
        """In the parent, before a fork."""
        if self._delivery is not None:
            self._delivery.before_fork()

    def after_fork_in_parent(self) -> None:
        """In the parent, after a fork."""
        if self._delivery is not None:
            self._delivery.after_fork_in_parent()

    def reset_after_fork(self) -> None:
        """In a forked child: start empty, with new locks and threads; the parent keeps what it had."""
        self._close_lock = threading.Lock()
        self._open_lock = threading.Lock()
        self._is_forked = True
        self._ledger.reset()
        self._notices.reset()
        if self._delivery is not None:
            self._delivery.reset_after_fork()
        self._journal = None
        self._scores.clear()
        self._worker.reset_after_fork()


def _is_something_left(config: Config) -> bool:
    from pandaprobe_otel.delivery.spool.destination import is_something_left

    return is_something_left(config)


def _has_spool(config: Config) -> bool:
    """Whether the settings name a spool, and this Python can keep one; if not, that is said."""
    if config.spool is None:
        return False
    from pandaprobe_otel.delivery.spool.platform import obstacle

    reason = obstacle()
    if reason is not None:
        _logger.warning("pandaprobe-otel: there is no spool, since %s; traces wait in memory only.", reason)
    return reason is None
