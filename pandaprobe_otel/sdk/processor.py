"""Span processor, which sees spans start and end and so knows exactly when a trace is complete.

Also what it shares with the exporter (only one of our receivers in a provider delivers to each destination: a variable
or a configuration file may add an exporter, while the app's code and `init()` each add a processor), and the sampler of
the providers that `init` makes, which counts the spans that the processor never sees.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from sys import exc_info
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypedDict, Unpack, cast

from opentelemetry.context import get_current
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import DEFAULT_TRACE_STATE

from pandaprobe_otel.assembly.remote_parents import LEAVING, leave_out_strangers, mark
from pandaprobe_otel.capture.content import kind_and_message
from pandaprobe_otel.capture.trace_context import attributes_in, stamp
from pandaprobe_otel.capture.tracers import state
from pandaprobe_otel.config.resolve import Config, Problem
from pandaprobe_otel.config.settings import OF_RECEIVERS
from pandaprobe_otel.mapping.outcomes import outcome_of
from pandaprobe_otel.mapping.sdk_span import begun, mark_failure, mark_outcome
from pandaprobe_otel.pipeline.opening import Pipeline, open_pipeline
from pandaprobe_otel.process.guard import failed, mistake
from pandaprobe_otel.process.process_events import signals_wait

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span
    from opentelemetry.sdk.trace.sampling import SamplingResult


_logger = logging.getLogger("pandaprobe_otel")

_HANDLED: Final = "_pandaprobe_handled"
"""Attribute of a span that started while a cancellation was handled: the id of that exception."""


class ExportSettings(TypedDict, total=False):
    """Settings that a span processor or exporter takes. scripts/write_docs.py writes each from its declaration."""

    api_key: str | Callable[[], str] | None
    project_name: str | None
    endpoint: str | None
    environment: str | None
    release: str | None
    enabled: bool | None
    spans: Literal["agent", "all"] | Callable[[ReadableSpan], bool] | None
    media: Literal["digest", "inline"] | None
    capture: Literal["all", "metadata", "off"] | Mapping[str, str] | None
    mask: Any
    scrub: bool | Literal["all"] | None
    compute_cost: bool | None
    sample_rate: float | None
    local: str | os.PathLike[str] | None
    spool: str | os.PathLike[str] | None
    redis_url: str | None
    live: bool | None
    max_traces_per_day: int | None
    max_queue_bytes: int | None
    max_spool_bytes: int | None
    shutdown_timeout_s: float | None


class SpanReceiver:
    """Base of our span processor and exporter."""

    pipeline: Pipeline
    sees_starts: ClassVar[bool]
    stands_aside = False
    """True if another receiver delivers to the same destination."""
    outlives_provider = False
    """True if the pipeline also serves other providers, so that the end of this one does not end it."""

    def __init__(self, *, pipeline: Pipeline | None = None, **settings: Unpack[ExportSettings]) -> None:
        if pipeline is None:
            pipeline = open_pipeline(_config(settings), counts_starts=self.sees_starts)
        self._seen: Any = None
        self.lead_to(pipeline)

    def lead_to(self, pipeline: Pipeline) -> None:
        """Pass spans to this pipeline from now on."""
        self.pipeline = pipeline

    def shutdown(self) -> None:
        """Deliver as much as possible within the shutdown timeout, then stop."""
        if self.outlives_provider:
            return
        with signals_wait():  # providers shut down at exit, before our own exit handler
            self.pipeline.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Deliver every trace whose root has ended; return False if that exceeds the timeout."""
        return self.pipeline.flush(timeout_millis / 1000)


class PandaProbeSpanProcessor(SpanReceiver, SpanProcessor):
    """Processor that assembles, maps and delivers each trace of a `TracerProvider` to PandaProbe.

    Starting or ending a span costs the calling thread one append. Everything else happens in background threads,
    which start with the first span. The constructor sends nothing and never raises: if the settings cannot work (no
    API key), it logs one warning and ignores all spans.

    The settings are those of `init` for the connection, the content and the delivery. All are optional:
    `api_key`, `project_name`, `endpoint`, `environment`, `release`, `spans`, `capture`, `mask`, `compute_cost`,
    `sample_rate`, `spool`, `redis_url`, `live`, `enabled`, `max_queue_bytes`, `max_spool_bytes`,
    `shutdown_timeout_s`.
    """

    sees_starts = True

    def lead_to(self, pipeline: Pipeline) -> None:
        """Pass spans to this pipeline from now on."""
        super().lead_to(pipeline)
        self._started = pipeline.started
        self._ended = pipeline.ended
        self._marks = pipeline.selection is not None
        self._leaves_out = pipeline.selection != "all"

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Stamp session, user, tags and metadata of the context on the span, and count it as open.

        If the span may be left out later, mark it, so that its children in other services know its replacement (see
        `remote_parents`).
        """
        try:
            # The SDK replaces this tuple when a processor is added.
            processors: Any = getattr(span, "_span_processor", None)
            if self._seen is not (seen := getattr(processors, "_span_processors", None)):
                self._seen = seen
                choose(processors)
            if self.stands_aside:
                return
            context, parent, kind = begun(span)
            if parent is not None and context is not None and self._marks:
                if state.are_contexts_shared:
                    leave_out_strangers(span, parent_context)
                # Compared with the usual state, because its length is a Python call.
                if kind in LEAVING or context.trace_state is not DEFAULT_TRACE_STATE:
                    mark(span, leaves_out=self._leaves_out)
            wanted = attributes_in(get_current() if parent_context is None else parent_context)
            if wanted is not None:
                stamp(span, wanted)
            handled = exc_info()[1]
            if handled is not None and not isinstance(handled, Exception):
                setattr(_kept(span), _HANDLED, id(handled))
        except Exception as error:  # noqa: BLE001 - protects the app: its span must start, whatever the context holds
            failed("the start of a span", error)
        self._started(span)

    def on_end(self, span: ReadableSpan) -> None:
        """Pass the ended span to the pipeline.

        A span that a cancellation, the end of a left stream or another `BaseException` passes through is marked,
        because OpenTelemetry's blocks record only an `Exception`: it would look like a success. Our own integrations
        and decorators mark theirs, because they know more about the end.
        """
        if self.stands_aside:
            return
        passing = exc_info()[1]
        if passing is not None and not isinstance(passing, Exception):
            _mark_passed(span, passing)
        self._ended(span)


def _config(given: Mapping[str, Any]) -> Config:
    """Resolve the settings; an unknown one becomes a problem, not an exception.

    OpenTelemetry's configuration file passes on everything that it contains, and an exception would stop all telemetry.
    """
    config = Config.resolve({name: value for name, value in given.items() if name in OF_RECEIVERS})
    problems = [
        Problem(setting=name, message=f"{name} is not a setting of a span processor or exporter; it is ignored.")
        for name in given
        if name not in OF_RECEIVERS
    ]
    return dataclasses.replace(config, problems=(*config.problems, *problems)) if problems else config


def receivers_in(processor: Any) -> Iterator[SpanReceiver]:
    """Yield our receivers among a provider's span processors and their exporters, in order."""
    if isinstance(processor, SpanReceiver):
        yield processor
        return
    inside: Any = getattr(processor, "_span_processors", ())
    if type(inside) is not tuple:  # a mock has every attribute
        inside = ()
    for inner in cast("tuple[Any, ...]", inside):
        yield from receivers_in(inner)
    batch = getattr(processor, "_batch_processor", processor)
    exporter = getattr(processor, "span_exporter", None) or getattr(batch, "_exporter", None)
    if isinstance(exporter, SpanReceiver):
        yield exporter


def choose(processor: Any) -> None:
    """Choose one receiver for each destination: the first that sees spans start, else the first."""
    chosen: dict[str, SpanReceiver] = {}
    for receiver in sorted(receivers_in(processor), key=lambda each: not each.sees_starts):
        place = receiver.pipeline.destination
        if place is None:
            continue
        first = chosen.setdefault(place, receiver)
        if first is receiver or first.pipeline is receiver.pipeline or receiver.stands_aside:
            continue
        receiver.stands_aside = True
        _logger.warning(
            "pandaprobe-otel: the tracer provider sends to %s twice: %s delivers, and %s is ignored with its settings.",
            place,
            type(first).__name__,
            type(receiver).__name__,
        )


def _mark_passed(span: ReadableSpan, passing: BaseException) -> None:
    try:
        if getattr(_kept(span), _HANDLED, None) == id(passing):
            return
        if outcome := outcome_of(passing):
            mark_outcome(span, outcome)
        elif outcome is None and getattr(passing, "code", True):  # `sys.exit()` is not a failure
            mark_failure(span, *kind_and_message(passing))
    except Exception as error:  # noqa: BLE001 - protects the app: its span must end, whatever it holds
        failed("the end of a span", error)


def _kept(span: Any) -> object:
    """Return what an open span and its ended copy share."""
    return span._attributes


def counting_sampler(count: Callable[[], None]) -> Sampler:
    """Return OpenTelemetry's default sampler, which calls `count` for each span whose parent is not sampled."""
    off = _CountedOff(count)
    return ParentBased(ALWAYS_ON, remote_parent_not_sampled=off, local_parent_not_sampled=off)


class _CountedOff(Sampler):
    def __init__(self, count: Callable[[], None]) -> None:
        self._count = count

    def should_sample(self, *args: Any, **options: Any) -> SamplingResult:
        self._count()
        mistake(
            "spans are not recorded, because the caller of this service did not sample its own (its traceparent ends "
            "in -00). status() counts them as sampled_by_parent. OTEL_TRACES_SAMPLER=always_on records them."
        )
        return ALWAYS_OFF.should_sample(*args, **options)

    def get_description(self) -> str:
        return "AlwaysOff, counted"
