"""The order of calls, as derived from the spans around them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from opentelemetry.context import attach, get_current
from opentelemetry.trace import Tracer, set_span_in_context

from pandaprobe_otel.replay.call_places import Places
from span_recorder import SpanRecorder


class Told:
    """A recorder of call places that starts and ends spans."""

    def __init__(self, tracer: Tracer) -> None:
        self.places = Places()
        self._tracer = tracer

    def span(self, name: str, inside: Callable[[], None] = lambda: None) -> Any:
        """Run a function in a span without ending the span, and return the span."""
        before = get_current()
        span: Any = self._tracer.start_span(name)
        self.places.started(span, name)
        attach(set_span_in_context(span))
        inside()
        attach(before)
        return span


@pytest.fixture
def told(recorder: SpanRecorder) -> Iterator[Told]:
    """Yield a recorder of call places outside of any span."""
    before = get_current()
    yield Told(recorder.tracer)
    attach(before)


def in_thread(function: Callable[[], Any]) -> None:
    """Run a function to its end in a thread with this context."""
    context = get_current()
    thread = threading.Thread(target=lambda: (attach(context), function()))
    thread.start()
    thread.join()


def test_steps_one_after_the_other(told: Told) -> None:
    """A call in a later span comes after those in an ended span, even if threads of a pool make the calls."""
    found: list[int] = []

    def step(number: int) -> Callable[[], None]:
        return lambda: in_thread(lambda: found.append(told.places.began(number)))

    def run() -> None:
        told.span("first", step(1)).end()
        told.span("second", step(2)).end()
        told.span("third", lambda: told.span("within", step(3)).end()).end()

    told.span("run", run).end()
    assert found == [0, 1 << 1, 1 << 1 | 1 << 2]


def test_steps_side_by_side(told: Told) -> None:
    """A call does not come after calls in an open span, or after calls that another thread began."""
    found: list[int] = []

    def asked(number: int) -> None:
        found.append(told.places.began(number))

    def of_a_pool(number: int) -> None:
        told.span("of a pool", partial(asked, number)).end()

    def run() -> None:
        one = told.span("open", partial(asked, 1))
        told.span("other", partial(asked, 2))
        one.end()
        for number in (3, 4):
            in_thread(partial(of_a_pool, number))

    told.span("run", run).end()
    assert found == [0, 0, 0, 0]
