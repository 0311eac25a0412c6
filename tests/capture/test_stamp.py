"""Stamping: the attributes that a span processor writes on every span that starts, from any instrumentation."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import pytest
from opentelemetry import baggage
from opentelemetry.context import Context, get_current
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.trace import INVALID_SPAN

import pandaprobe_otel as pp
from pandaprobe_otel.capture.trace_context import attributes_in, stamp
from span_recorder import SpanRecorder


class Stamping(SpanProcessor):
    """A span processor that calls `stamp`, as the library's own does."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Stamp the span."""
        if (wanted := attributes_in(get_current() if parent_context is None else parent_context)) is not None:
            stamp(span, wanted)

    def on_end(self, span: ReadableSpan) -> None:
        """Do nothing."""


@pytest.fixture(autouse=True)
def _stamping(recorder: SpanRecorder) -> Iterator[None]:
    """Add the stamping processor to the recorder's provider."""
    recorder.provider.add_span_processor(Stamping())
    yield
    pp.set_session(None)


def test_foreign_spans_get_the_values(recorder: SpanRecorder) -> None:
    """Spans of any instrumentation carry the session, user, tags and metadata of the surrounding block."""
    with pp.context(session="s", user="u", tags=["t"], metadata={"m": 1}):
        recorder.tracer.start_span("foreign").end()
    assert recorder.attributes() == {
        "session.id": "s",
        "user.id": "u",
        "pandaprobe.tags": ("t",),
        "pandaprobe.metadata": '{"m":1}',
    }


def test_explicit_parent_context_counts_not_the_current_one(recorder: SpanRecorder) -> None:
    """A span started in a given context gets the values of that context."""
    with pp.session("given"):
        given = get_current()
    with pp.session("current"):
        recorder.tracer.start_span("foreign", context=given).end()
    assert recorder.attributes() == {"session.id": "given"}


def test_attributes_from_the_start_of_a_span_stay(recorder: SpanRecorder) -> None:
    """An attribute that the span was started with is not overwritten."""
    with pp.context(session="context", user="context"):
        recorder.tracer.start_span("foreign", attributes={"session.id": "own"}).end()
    assert recorder.attributes() == {"session.id": "own", "user.id": "context"}


def test_own_spans_inside_a_decorated_trace_and_foreign_ones(recorder: SpanRecorder) -> None:
    """Spans of libraries inside `@trace(session_id=...)` carry its session."""

    @pp.trace(session_id="s", tags=["t"], metadata={"m": 1})
    def handle() -> None:
        recorder.tracer.start_span("foreign").end()

    with pp.session("around"):
        handle()
    for name in ("foreign", "handle"):
        attributes = recorder.attributes(name)
        assert attributes["session.id"] == "s"
        assert attributes["pandaprobe.tags"] == ("t",)
        assert recorder.json("pandaprobe.metadata", name) == {"m": 1}


def test_baggage_that_came_with_a_request(recorder: SpanRecorder) -> None:
    """`session.id` and `user.id` of W3C baggage are copied to the span, and other entries are not."""
    context = baggage.set_baggage("session.id", "s", Context())
    context = baggage.set_baggage("user.id", "u", context)
    context = baggage.set_baggage("secret", "x", context)
    recorder.tracer.start_span("foreign", context=context).end()
    assert recorder.attributes() == {"session.id": "s", "user.id": "u"}


def test_imperative_values(recorder: SpanRecorder) -> None:
    """`set_session` reaches spans of any instrumentation."""
    pp.set_session("s")
    recorder.tracer.start_span("foreign").end()
    assert recorder.attributes() == {"session.id": "s"}


def test_spans_without_anything_to_say_stay_bare(recorder: SpanRecorder) -> None:
    """Without any values, no attribute is written."""
    recorder.tracer.start_span("foreign").end()
    assert recorder.attributes() == {}


def test_stamp_takes_any_span() -> None:
    """A span without readable attributes raises no exception."""
    with pp.session("s"):
        stamp(INVALID_SPAN, attributes_in(get_current()) or {})
    assert not INVALID_SPAN.is_recording()


def test_stamping_nothing_is_cheap() -> None:
    """Stamping without values takes less than a quarter of the time that the SDK needs for a span."""
    context, tracer = Context(), TracerProvider(shutdown_on_exit=False).get_tracer("test")

    def takes(work: Callable[[], object]) -> int:
        best_ns = sys.maxsize
        for _ in range(20):
            started = time.thread_time_ns()
            for _ in range(500):
                work()
            best_ns = min(best_ns, time.thread_time_ns() - started)
        return best_ns

    stamping = takes(lambda: attributes_in(context))
    assert stamping < takes(lambda: tracer.start_span("span").end()) / 4  # 0.2 us of 7
