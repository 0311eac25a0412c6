"""Ctrl-C, or an exception that another thread throws in, passes at any moment and leaves none of our spans current."""

from __future__ import annotations

import datetime
import gc
import sys
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.sdk.trace import TracerProvider

from interrupter import Interrupter
from pandaprobe_otel import agent, start_trace
from pandaprobe_otel import session as in_session
from pandaprobe_otel.capture.tracers import use_tracer_provider
from span_recorder import recording
from subprocesses import environment, run_python


@pytest.fixture
def provider() -> Iterator[None]:
    """Set up the SDK without a span processor, since some change the context and do not survive an interrupt.

    No collection of garbage calls code of others meanwhile, such as hypothesis's callback, which swallows an interrupt.
    """
    use_tracer_provider(TracerProvider(shutdown_on_exit=False))
    token = attach(Context())
    gc.disable()
    yield
    gc.enable()
    detach(token)
    use_tracer_provider(None)


class TimeLimitError(Exception):
    """A time limit, as some libraries throw it in from a thread."""


class OddError(ValueError, TypeError, RuntimeError, LookupError):
    """A time limit of all kinds that our code catches for itself."""


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


@dataclass
class Answer:
    """A value with code of the app that needs much of the encoder."""

    name: str

    def __repr__(self) -> str:
        return self.name

    def model_dump(self) -> list[object]:
        """Return values of many kinds."""
        return [b"x", {2, "2"}, {None: datetime.date(2026, 1, 2)}, KeyError("late"), {self}]

    def __hash__(self) -> int:
        return 1


def call_with_answer() -> None:
    """Call a decorated function with a value that is encoded with care."""
    plain(Answer("a"))


WAYS = [call_with_answer, with_block, with_trace, with_session, call, call_in_session, iterate, await_block, await_call]


@pytest.mark.parametrize(
    ("use", "thrown_in"),
    [
        *((use, None) for use in WAYS),
        *((use, error) for use in WAYS[:-2] for error in (TimeLimitError, OddError)),  # `run` makes checks of its own
    ],
)
def test_what_strikes_at_any_moment_reaches_the_app_and_leaves_no_span_of_ours_current(
    provider: None, use: Callable[[], None], thrown_in: type[Exception] | None, caplog: pytest.LogCaptureFixture
) -> None:
    """After an interrupt, the earlier context is current again, and the span that was current has ended.

    The interpreter raises what another thread throws in at any of its checks, also where no code of ours can put the
    context back.
    """
    use()
    moments, expected = 0, thrown_in or KeyboardInterrupt
    while True:
        outside = attach(Context())
        before = get_current()
        interrupter = Interrupter(moments, thrown_in=thrown_in)
        sys.setprofile(interrupter)
        try:
            use()
            assert not interrupter.has_struck
        except expected:
            pass
        finally:
            sys.setprofile(None)
            is_back = get_current() is before
            detach(outside)
        if not interrupter.has_struck:
            break
        moments += 1
        assert thrown_in or (is_back and (interrupter.current is None or not interrupter.current.is_recording()))
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


@pytest.mark.parametrize("module", ["datetime", "uuid"])
def test_an_interrupt_while_orjson_is_loaded_does_not_crash_the_process(module: str) -> None:
    """A signal handler that raises while orjson imports a module interrupts the app's call, and the next one works."""
    code = f"""
    import signal, sys

    class Stop(BaseException): pass

    def stop(*_): raise Stop

    signal.signal(signal.SIGUSR1, stop)
    seen = []

    def interrupt(event, args):
        if event == "import" and args[0] in ("orjson.orjson", {module!r}) and args[0] not in seen:
            seen.append(args[0])
            if seen == ["orjson.orjson", {module!r}]:
                signal.raise_signal(signal.SIGUSR1)

    import pandaprobe_otel
    sys.modules.pop({module!r}, None)  # else it might be loaded by now
    sys.addaudithook(interrupt)
    try:
        pandaprobe_otel.agent
    except Stop:
        print("stopped")
    print(pandaprobe_otel.agent(lambda: 1)())
    """
    result = run_python(code, environment(), set_up=False, fresh=True)

    assert (result.returncode, result.stdout) == (0, "stopped\n1\n"), result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_an_interrupt_while_a_logger_is_made_does_not_keep_the_next_call_from_working() -> None:
    """A signal handler that raises there leaves `logging` broken: later imports of other loggers' modules fail."""
    code = """
    import logging, os, signal, sys, threading
    import pandaprobe_otel

    class Stop(BaseException): pass

    def stop(*_): raise Stop

    signal.signal(signal.SIGUSR1, stop)
    makes = logging.Manager._fixupParents.__code__
    sets_parent = max(line for _, _, line in makes.co_lines() if line)

    def interrupted(nth):
        times = iter(range(1, 1000))

        def follow(frame, event, arg):
            if event == "line" and frame.f_lineno == sets_parent and next(times) == nth:
                signal.raise_signal(signal.SIGUSR1)
            return follow

        trace = lambda frame, event, arg: follow if frame.f_code is makes else None
        sys.settrace(trace), threading.settrace(trace)
        stopped = False
        try:
            pandaprobe_otel.init(instrument=False)
        except Stop:
            stopped = True
        sys.settrace(None), threading.settrace(None)
        return stopped and pandaprobe_otel.init(instrument=False).enabled

    for nth in range(1, 7):
        child = os.fork()
        if child == 0:
            os._exit(not interrupted(nth))
        print(nth, os.waitpid(child, 0)[1])
    """
    result = run_python(code, environment("http://127.0.0.1:9"), set_up=False, fresh=True)

    assert result.stdout == "".join(f"{nth} 0\n" for nth in range(1, 7)), result.stderr
