"""An exception that the app's signal handler raises passes through our code; a fault in our code does not."""

from __future__ import annotations

import functools
import gc
import logging
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import orjson
import pytest

from pandaprobe_otel import tool
from pandaprobe_otel.process.guard import failures
from span_recorder import SpanRecorder, recording

LIMIT_S = 0.004


class TimeLimitError(Exception):
    """A time limit, like Celery's SoftTimeLimitExceeded."""


class OddValueError(ValueError):
    """An exception of a kind that encoding itself may raise."""


def limit(number: int, frame: FrameType | None) -> None:
    """Raise as a handler of SIGALRM."""
    raise TimeLimitError


def limit_with_error(error: type[BaseException], number: int, frame: FrameType | None) -> None:
    """Raise this error as a handler."""
    raise error


def limit_once(*arguments: object) -> None:
    """Raise through another function, and remove the handler first."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    limit_with_error(TimeLimitError, 0, None)


class Limit:
    """A handler with state."""

    def __call__(self, number: int, frame: FrameType | None) -> None:
        raise TimeLimitError

    def method(self, number: int, frame: FrameType | None) -> None:
        raise TimeLimitError


def _raise(error: Exception) -> None:
    raise error


HANDLERS: list[Callable[..., Any]] = [
    Limit().method,
    functools.partial(limit_with_error, TimeLimitError),
    Limit(),
    lambda *_: _raise(TimeLimitError()),
    limit_once,
]
ERRORS = [TimeLimitError, TimeoutError, OddValueError, MemoryError, RecursionError, KeyboardInterrupt]


class Slow:
    """A value that takes its time when it is recorded, in code of the app."""

    def __repr__(self) -> str:
        time.sleep(5)
        return "slow"


class Model:
    """A value with a serializer of the app."""

    def model_dump(self) -> dict[str, object]:
        return {"rows": ROWS, "slow": Slow()}


ROWS = [{"id": number, "text": "x" * 20} for number in range(100_000)]


@tool
def work(value: object) -> object:
    """Take a large argument."""
    return value


def call() -> None:
    """Call a decorated function, whose argument and result are encoded."""
    work(ROWS)


def call_with_model() -> None:
    """Call it with a value whose own code runs."""
    work(Model())


USES = [call, call_with_model]


@contextmanager
def strike(handler: Callable[..., Any]) -> Generator[None]:
    """Let the handler run once, soon."""
    before = signal.signal(signal.SIGALRM, handler)
    gc.collect()
    gc.disable()  # Python ignores exceptions in the callbacks of weak references
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()


def until_struck(use: Callable[[], None]) -> None:
    """Repeat a use until something is raised."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        use()


@pytest.fixture
def recorder() -> Iterator[SpanRecorder]:
    """Record spans in memory, and fail if a time limit was counted as a fault of ours."""
    before = failures()
    with recording() as recorder:
        work(object())  # what is loaded on first use
        recorder.clear()
        yield recorder
    assert failures() == before


@pytest.mark.skipif(sys.platform == "win32", reason="there is no timer")
@pytest.mark.parametrize(
    ("handler", "use"),
    [*((limit, use) for use in USES), *((handler, call) for handler in HANDLERS)],
)
def test_an_exception_of_a_signal_handler_reaches_the_app(
    recorder: SpanRecorder, handler: Callable[..., Any], use: Callable[[], None]
) -> None:
    """A handler of any sort ends the work in which it strikes, and the span that was open has ended."""
    with pytest.raises(TimeLimitError), strike(handler):
        until_struck(use)

    assert all(each.end_time for each in recorder.spans)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no timer")
@pytest.mark.parametrize("error", ERRORS)
def test_an_exception_of_any_class_reaches_the_app(recorder: SpanRecorder, error: type[BaseException]) -> None:
    """Classes that our code also catches for itself are no exception."""
    with pytest.raises(error), strike(functools.partial(limit_with_error, error)):
        until_struck(call_with_model)
    assert all(each.end_time for each in recorder.spans)


class Failing:
    """A value whose own code raises."""

    def __init__(self, fail: Callable[[], object]) -> None:
        self._fail = fail

    def model_dump(self) -> object:
        return self._fail()


FAULTS: list[Callable[[], object]] = [
    *(functools.partial(_raise, error()) for error in [TimeLimitError, TimeoutError, MemoryError, RecursionError]),
    functools.partial(orjson.loads, "{"),  # a class of a library, raised by its code in C
    functools.partial(int, "x"),
]


@pytest.mark.parametrize("fail", FAULTS)
def test_a_failing_value_stays_our_fault(fail: Callable[[], object], caplog: pytest.LogCaptureFixture) -> None:
    """Code of a value runs only because of us: its exception is counted, and the call goes on."""
    with recording() as recorder:
        value = Failing(fail)
        assert work(value) is value
    assert recorder.input("work") == {"value": "<Failing: cannot be shown>"}


def test_a_call_near_the_recursion_limit_is_not_affected(caplog: pytest.LogCaptureFixture) -> None:
    """If our code has no room left on the stack, the app's call goes on, with no log line from that depth."""

    @tool
    def last(value: int) -> int:
        return value

    def descend() -> int:
        try:
            return descend()
        except RecursionError:
            return last(1)

    caplog.set_level(logging.DEBUG, logger="pandaprobe_otel")
    with recording():
        assert descend() == 1
