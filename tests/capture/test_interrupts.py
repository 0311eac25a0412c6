"""Ctrl-C at any moment at which the interpreter checks for signals leaves none of our spans current."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.trace import get_current_span

import pandaprobe_otel
from pandaprobe_otel import agent, start_trace
from pandaprobe_otel import session as in_session
from pandaprobe_otel.capture.tracers import use_tracer_provider
from span_recorder import recording

LIBRARY = str(Path(pandaprobe_otel.__file__).parent)
_MOMENTS = ("call", "return", "c_return")
_FIRST_INSTRUCTION = ("__exit__", "__aexit__")
"""Functions called by the interpreter: our code cannot handle an interrupt before their first instruction."""


class Interrupter:
    """A profiler that raises KeyboardInterrupt at the n-th moment a signal could arrive in our code.

    CPython checks for signals at the start of a function and after each call, and calls the profiler there.
    """

    def __init__(self, moment: int) -> None:
        self._left = moment
        self.has_struck = False
        self.current: Span | None = None
        """The span that was current at the interrupt."""

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if self.has_struck or event not in _MOMENTS or not self._is_ours(frame, event):
            return
        self._left -= 1
        if self._left < 0:
            self.has_struck = True
            found = get_current_span()
            self.current = found if isinstance(found, Span) else None
            sys.setprofile(None)
            raise KeyboardInterrupt

    @staticmethod
    def _is_ours(frame: FrameType, event: str) -> bool:
        """Return whether our code is on the stack, not counting a frame that has just returned or is about to begin."""
        chain: list[FrameType] = []
        at: FrameType | None = frame
        while at is not None and not at.f_code.co_name.startswith("test_"):
            chain.append(at)
            at = at.f_back
        if any(each.f_code.co_name == "__del__" for each in chain):  # exceptions in `__del__` are ignored
            return False
        is_edge = event == "return" or frame.f_code.co_name in _FIRST_INSTRUCTION
        return any(each.f_code.co_filename.startswith(LIBRARY) for each in chain[is_edge:])


@pytest.fixture
def provider() -> Iterator[None]:
    """Set up the SDK without a span processor, since some change the context and do not survive an interrupt."""
    use_tracer_provider(TracerProvider(shutdown_on_exit=False))
    token = attach(Context())
    yield
    detach(token)
    use_tracer_provider(None)


class Told:
    """A value that runs code of the app when it is recorded."""

    def model_dump(self) -> dict[str, int]:
        return {"a": 1}


def with_block() -> None:
    """Enter a block that records values."""
    with agent("interrupted", input=Told(), metadata={"b": 2}, session_id="s") as span:
        span.set_output(Told())


def with_trace() -> None:
    """Enter a trace block, and a block of a span within it."""
    with start_trace("interrupted", input=Told()) as trace, trace.span("inner") as span:
        span.set_output([1])


def with_session() -> None:
    """Enter a session block."""
    with in_session("s"):
        pass


@agent
def plain(value: object, more: int = 1) -> object:
    """Return the value."""
    return value


def call() -> None:
    """Call a decorated function."""
    plain(Told())


@in_session("s")
def within(value: object) -> object:
    """Return the value."""
    return value


def call_in_session() -> None:
    """Call a function decorated with a session."""
    within(1)


@agent
def items(count: int) -> Iterator[int]:
    """Yield numbers."""
    yield from range(count)


def iterate() -> None:
    """Read a decorated generator."""
    for _ in items(2):
        pass


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never waits, in the context of the test itself."""
    with pytest.raises(StopIteration):
        coroutine.send(None)


def await_block() -> None:
    """Enter an async block."""

    async def block() -> None:
        async with agent("interrupted", input=Told()) as span:
            span.set_output(1)

    run(block())


@agent
async def answer(value: object) -> object:
    """Return the value."""
    return value


def await_call() -> None:
    """Await a decorated coroutine."""

    async def ask() -> None:
        await answer(Told())

    run(ask())


WAYS = [with_block, with_trace, with_session, call, call_in_session, iterate, await_block, await_call]


@pytest.mark.parametrize("use", WAYS)
def test_an_interrupt_at_any_moment_leaves_no_span_of_ours_current(
    provider: None, use: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    """After an interrupt, the earlier context is current again and the span that was current has ended."""
    use()
    before = get_current()
    moments = 0
    while True:
        interrupter = Interrupter(moments)
        sys.setprofile(interrupter)
        try:
            use()
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(None)
        if not interrupter.has_struck:
            break
        moments += 1
        assert get_current() is before
        assert interrupter.current is None or not interrupter.current.is_recording()
    assert moments > 10
    caplog.clear()  # a block that an interrupt has kept from being entered is told of as one that was forgotten


class Interrupting:
    """A value whose code is interrupted while it is recorded."""

    def model_dump(self) -> dict[str, int]:
        raise KeyboardInterrupt


def enter(value: object) -> None:
    """Enter a block that records the value."""
    with agent("plain", input=value):
        pass


@pytest.mark.parametrize("use", [plain, enter, lambda value: run(ask(value))], ids=["call", "block", "coroutine"])
def test_an_interrupt_in_code_of_the_app_ends_the_span(use: Callable[[object], object]) -> None:
    """The interrupt is the app's; the trace shows that it was cancelled, instead of waiting for the end of a span."""
    with recording() as recorder:
        with pytest.raises(KeyboardInterrupt):
            use(Interrupting())
        assert [dict(span.attributes or {})["pandaprobe.outcome"] for span in recorder.spans] == ["cancelled"]


async def ask(value: object) -> None:
    """Await a decorated coroutine."""
    await answer(value)
