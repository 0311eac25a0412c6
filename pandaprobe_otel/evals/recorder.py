"""Recorder of a test's spans in memory, from all threads and tasks, and the instrumentation of libraries meanwhile."""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import Context, get_current, set_value
from opentelemetry.sdk.trace import SpanProcessor

from pandaprobe_otel.mapping import attributes as names
from pandaprobe_otel.traces.records import TraceRecord

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, Span

_logger = logging.getLogger(__name__)
_OWNER_KEY: Final = "pandaprobe-recording"
_REMEMBERED_TRACES: Final = 10_000
_MAX_SPANS: Final = 50_000
"""Maximum number of spans of one recording, so that a test in an endless loop does not exhaust the memory."""


class Recording:
    """Spans of one test or case. Traces without a session get `session`."""

    def __init__(self, *, session: str | None = None) -> None:
        self.session = session
        self._is_full = False
        self._lock = threading.Lock()
        self._spans: OrderedDict[int, list[ReadableSpan]] = OrderedDict()
        self._count = 0
        self._closed = False

    def add(self, trace_id: int, span: ReadableSpan) -> None:
        """Add a span that has ended."""
        with self._lock:
            if self._closed or self._count >= _MAX_SPANS:
                if not self._closed and not self._is_full:
                    self._is_full = True
                    _logger.warning("a test or case has more than %d spans: the others are not recorded", _MAX_SPANS)
                return
            self._count += 1
            self._spans.setdefault(trace_id, []).append(span)

    def begin(self, trace_id: int) -> None:
        """Note the start of a trace, so that traces are ordered by start."""
        with self._lock:
            if not self._closed:
                self._spans.setdefault(trace_id, [])

    def close(self) -> None:
        """Stop recording and release the spans."""
        with self._lock:
            self._closed = True
            self._spans.clear()

    @property
    def count(self) -> int:
        """The number of spans."""
        return self._count

    def traces(self) -> tuple[TraceRecord, ...]:
        """Return the traces with at least one ended span, ordered by start."""
        from pandaprobe_otel.mapping import map_trace

        with self._lock:
            kept = [tuple(spans) for spans in self._spans.values() if spans]
        return tuple(TraceRecord(body) for body in map(map_trace, kept) if body.get("spans"))

    def applied_to(self, context: Context) -> Context:
        """Return a copy of this OpenTelemetry context in which new traces belong to the recording."""
        return set_value(_OWNER_KEY, self, context)


class SpanRecorder(SpanProcessor):
    """Span processor that assigns each trace to a recording at its start.

    The context names the recording. Threads and tasks without a context use the current recording of the process, since
    tests run one after the other.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: Recording | None = None
        self._owners: OrderedDict[int, Recording] = OrderedDict()
        self._attached: list[Any] = []

    def begin(self, recording: Recording | None) -> Recording | None:
        """Make a recording the current one and return the previous one.

        None: traces whose context names no recording are not recorded.
        """
        before, self._current = self._current, recording
        return before

    def recording(self) -> Recording | None:
        """Return the recording of a trace that starts here; None if there is none."""
        return self._owner_in(None)

    def attach(self, *, create: bool) -> None:
        """Register with the tracer providers in use: the global one, and that of the decorators.

        With `create`, a provider is created if the app has none. This happens as late as possible, since the app can
        set the global provider only once.
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
        draw_from_system(provider)  # Not from `random`, since plugins seed it before each test.
        draw_from_system(tracer)
        # The SDK's tracer has the processor of its provider, to which others can be added.
        for target in (provider, getattr(tracer, "span_processor", None)):
            self._join(getattr(target, "_active_span_processor", target))

    def _join(self, target: Any) -> None:
        if hasattr(target, "add_span_processor") and not any(target is known for known in self._attached):
            self._attached.append(target)
            target.add_span_processor(self)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Assign a new trace to its recording."""
        if span.context is None:
            return
        trace_id = span.context.trace_id
        with self._lock:
            # A root always begins a trace, even under a known id: the app may derive its ids from a seed.
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
        """Record the span."""
        if span.context is not None and (owner := self._owners.get(span.context.trace_id)) is not None:
            owner.add(span.context.trace_id, span)

    def _owner_in(self, context: Context | None) -> Recording | None:
        found = (context if context is not None else get_current()).get(_OWNER_KEY)
        return found if isinstance(found, Recording) else self._current


RECORDER: Final = SpanRecorder()
"""The recorder of the process. A provider keeps its processors for ever, so a second one would record each span twice.
"""


class _Borrowed:
    """Count of concurrent evaluations. The first one instruments the libraries, and the last one restores them.

    An `init()` that sends may run meanwhile. It then takes over the instrumented libraries, and they stay instrumented.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._undone = ExitStack()

    def take(self) -> None:
        from pandaprobe_otel.bootstrap import CONTENT_SWITCHES
        from pandaprobe_otel.registry import instrument_all, instrumented, uninstrument

        with self._lock:
            if self._users == 0 and not _somebody_sends():
                for name in CONTENT_SWITCHES.keys() - os.environ.keys():
                    os.environ[name] = CONTENT_SWITCHES[name]
                    self._undone.callback(_unset, name, CONTENT_SWITCHES[name])
                before = tuple(result.name for result in instrumented())
                for result in instrument_all("auto", before):
                    if result.name not in before:
                        self._undone.callback(uninstrument, result.name)
            self._users += 1

    def give_back(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                undone = self._undone.pop_all()
                if not _somebody_sends():
                    undone.close()


def _unset(name: str, value: str) -> None:
    if os.environ.get(name) == value:
        del os.environ[name]


_borrowed: Final = _Borrowed()


def _somebody_sends() -> bool:
    from pandaprobe_otel.bootstrap import current

    handle = current()
    return handle is not None and handle.enabled and not handle.is_shut_down


@contextmanager
def instrumentation() -> Generator[None]:
    """Instrument the supported libraries, with content, inside the block, and restore them after it."""
    _borrowed.take()
    try:
        yield
    finally:
        _borrowed.give_back()
