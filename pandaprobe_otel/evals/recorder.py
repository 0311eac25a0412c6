"""Keeps the spans of a test in memory, whichever thread or task makes them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import Context, get_current, set_value
from opentelemetry.sdk.trace import SpanProcessor

from pandaprobe_otel.evals.traces import TraceRecord
from pandaprobe_otel.mapping import attributes as names

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, Span

_OWNER_KEY: Final = "pandaprobe-recording"
_REMEMBERED_TRACES: Final = 10_000
_MAX_SPANS: Final = 50_000
"""Of one recording; a test that loops for ever must not eat the machine."""


class Recording:
    """The spans of one test or case. `session` becomes the session of its traces that have none."""

    def __init__(self, *, session: str | None = None) -> None:
        self.session = session
        self.left_out = 0
        self._lock = threading.Lock()
        self._spans: OrderedDict[int, list[ReadableSpan]] = OrderedDict()
        self._count = 0
        self._closed = False

    def add(self, trace_id: int, span: ReadableSpan) -> None:
        """Keep a span that has ended."""
        with self._lock:
            if self._closed or self._count >= _MAX_SPANS:
                self.left_out += 1
                return
            self._count += 1
            self._spans.setdefault(trace_id, []).append(span)

    def begin(self, trace_id: int) -> None:
        """Note a trace when it starts, so that traces stand in the order of their starts."""
        with self._lock:
            if not self._closed:
                self._spans.setdefault(trace_id, [])

    def close(self) -> None:
        """Take no more, and let go of the spans."""
        with self._lock:
            self._closed = True
            self._spans.clear()

    @property
    def count(self) -> int:
        """The number of spans."""
        return self._count

    def traces(self) -> tuple[TraceRecord, ...]:
        """Return the traces with at least one span that has ended, in the order of their starts."""
        from pandaprobe_otel.mapping import map_trace

        with self._lock:
            kept = [tuple(spans) for spans in self._spans.values() if spans]
        return tuple(TraceRecord(body) for body in map(map_trace, kept) if body.get("spans"))

    def applied_to(self, context: Context) -> Context:
        """Return this OpenTelemetry context with the recording as the owner of the traces that start in it."""
        return set_value(_OWNER_KEY, self, context)


class SpanRecorder(SpanProcessor):
    """A span processor that gives each trace to the recording during which it started.

    The context says which one that is; in threads and tasks that know no context, it is the recording that is
    current in the process, since tests run one after the other.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: Recording | None = None
        self._owners: OrderedDict[int, Recording] = OrderedDict()
        self._attached: list[Any] = []

    def begin(self, recording: Recording | None) -> Recording | None:
        """Make a recording the current one and return the one before.

        None: traces without an owner in their context are not kept.
        """
        before, self._current = self._current, recording
        return before

    def recording(self) -> Recording | None:
        """Return the recording that a trace would be given to which starts here; None for none."""
        return self._owner_in(None)

    def attach(self, *, create: bool) -> None:
        """Listen to the tracer providers in use: the global one, and the one that the decorators use.

        With `create`, a provider is made where the app has none; that is left for as long as possible, since the
        app can set the global one only once.
        """
        from opentelemetry import trace

        from pandaprobe_otel.capture.tracers import current_tracer
        from pandaprobe_otel.id_generator import draw_from_system

        provider: Any = trace.get_tracer_provider()
        if not hasattr(provider, "add_span_processor") and create and isinstance(provider, trace.ProxyTracerProvider):
            from opentelemetry.sdk.trace import SpanLimits, TracerProvider

            provider = TracerProvider(span_limits=SpanLimits(max_span_attributes=4096))
            trace.set_tracer_provider(provider)
        tracer: Any = current_tracer()
        draw_from_system(provider)  # plugins seed `random` before each test
        draw_from_system(tracer)
        # A tracer of the SDK holds the processor of its provider, to which others can be added.
        for target in (provider, getattr(tracer, "span_processor", None)):
            self._join(getattr(target, "_active_span_processor", target))

    def _join(self, target: Any) -> None:
        if hasattr(target, "add_span_processor") and not any(target is known for known in self._attached):
            self._attached.append(target)
            target.add_span_processor(self)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Find the owner of a new trace."""
        if span.context is None:
            return
        trace_id = span.context.trace_id
        with self._lock:
            # A root begins a trace, even one whose id was there before: the app may draw its ids from a seed.
            owner = None if span.parent is None else self._owners.get(trace_id)
            if owner is None:
                owner = self._owner_in(parent_context)
                if owner is None:
                    self._owners.pop(trace_id, None)
                    return
                self._owners[trace_id] = owner
                if len(self._owners) > _REMEMBERED_TRACES:
                    self._owners.popitem(last=False)
        owner.begin(trace_id)
        if owner.session is not None and names.SESSION_ID not in (span.attributes or {}):
            span.set_attribute(names.SESSION_ID, owner.session)

    def on_end(self, span: ReadableSpan) -> None:
        """Keep the span."""
        if span.context is not None and (owner := self._owners.get(span.context.trace_id)) is not None:
            owner.add(span.context.trace_id, span)

    def _owner_in(self, context: Context | None) -> Recording | None:
        found = (context if context is not None else get_current()).get(_OWNER_KEY)
        return found if isinstance(found, Recording) else self._current


RECORDER: Final = SpanRecorder()
"""The one of the process: a provider keeps its processors for ever, and two would record each span twice."""
