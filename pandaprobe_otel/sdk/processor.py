"""Span processor, which sees spans start and end and so knows exactly when a trace is complete.

Also the sampler of the providers that `init` makes, which counts the spans that the processor never sees.
"""

from __future__ import annotations

from collections.abc import Callable
from sys import exc_info
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import get_current
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import DEFAULT_TRACE_STATE

from pandaprobe_otel.assembly.remote_parents import LEAVING, leave_out_strangers, mark
from pandaprobe_otel.capture.recorded_exceptions import kind_and_message
from pandaprobe_otel.capture.trace_context import attributes_in, stamp
from pandaprobe_otel.capture.tracers import state
from pandaprobe_otel.mapping.outcomes import outcome_of
from pandaprobe_otel.mapping.sdk_span import begun, mark_failure, mark_outcome
from pandaprobe_otel.pipeline.interface import Pipeline
from pandaprobe_otel.process.guard import failed, mistake
from pandaprobe_otel.sdk.span_receivers import SpanReceiver, choose

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span
    from opentelemetry.sdk.trace.sampling import SamplingResult


_HANDLED: Final = "_pandaprobe_handled"
"""Attribute of a span that started while a cancellation was handled: the id of that exception."""


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
