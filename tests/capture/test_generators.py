"""Decorated generators: the span lasts as long as the iteration, and the protocol is unchanged."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any

import pytest
from opentelemetry.trace import StatusCode, get_current_span

import pandaprobe_otel as pp
from span_recorder import SpanRecorder
from waiting import turns


@pp.tool
def words(text: str) -> Iterator[str]:
    """Yield the words of a text."""
    yield from text.split()


@pp.tool
async def awords(text: str) -> AsyncGenerator[str, None]:
    """Yield the words of a text."""
    for word in text.split():
        await asyncio.sleep(0)
        yield word


def test_span_lasts_the_iteration_and_joins_text(recorder: SpanRecorder) -> None:
    """The body starts with the first step; after the last step the span ends with the joined text."""
    stream = words("a b")
    assert recorder.spans == []
    assert next(stream) == "a"
    assert recorder.spans == []
    assert list(stream) == ["b"]
    assert recorder.output("words") == "ab"
    assert recorder.input("words") == {"text": "a b"}


def test_send_throw_and_return_value_pass_through(recorder: SpanRecorder) -> None:
    """The generator receives sent values and thrown exceptions, and its return value reaches the caller."""

    @pp.chain
    def echo() -> Generator[str, str, str]:
        got = yield "ready"
        try:
            yield f"got {got}"
        except KeyError as error:
            yield f"caught {error.args[0]}"
        return "done"

    stream = echo()
    assert next(stream) == "ready"
    assert stream.send("x") == "got x"
    assert stream.throw(KeyError("k")) == "caught k"
    with pytest.raises(StopIteration) as stop:
        next(stream)
    assert stop.value.value == "done"
    assert recorder.output("echo") == "readygot xcaught k"
    assert recorder.one("echo").status.status_code is StatusCode.UNSET


def test_generator_that_catches_its_close_still_returns(recorder: SpanRecorder) -> None:
    """A generator may clean up when it is closed, and its span ends once, without an error."""
    cleaned: list[str] = []

    @pp.chain
    def careful() -> Iterator[int]:
        try:
            yield 1
        except GeneratorExit:
            cleaned.append("closed")

    stream = careful()
    assert next(stream) == 1
    stream.close()  # type: ignore[attr-defined]
    assert cleaned == ["closed"]
    assert recorder.one("careful").status.status_code is StatusCode.UNSET


def test_exception_inside_a_generator(recorder: SpanRecorder) -> None:
    """The exception reaches the caller unchanged, and the output contains the items yielded before it."""
    error = ValueError("broken")

    @pp.llm
    def breaks() -> Iterator[str]:
        yield "a"
        raise error

    stream = breaks()
    assert next(stream) == "a"
    with pytest.raises(ValueError) as caught:
        next(stream)
    assert caught.value is error
    assert caught.value.__context__ is None
    assert recorder.one("breaks").status.status_code is StatusCode.ERROR
    assert recorder.output("breaks") == "a"


def test_exception_leaves_no_cycle(recorder: SpanRecorder) -> None:
    """An exception thrown into a generator is freed without the garbage collector."""
    import weakref

    class Thrown(Exception):
        pass

    @pp.chain
    def body() -> Iterator[int]:
        yield 1

    def throw() -> weakref.ref[Thrown]:
        stream: Any = body()
        next(stream)
        try:
            stream.throw(Thrown())
        except Thrown as error:  # unbound at the end of this clause, so the test makes no cycle itself
            return weakref.ref(error)
        raise AssertionError("nothing was raised")

    gc.collect()
    gc.disable()
    try:
        assert throw()() is None
    finally:
        gc.enable()


def between() -> None:
    """Make a span of the consumer between two steps."""
    with pp.span("between"):
        pass


@pp.tool
def body_step(n: int) -> int:
    """Make a span within a generator."""
    return n


@pytest.mark.parametrize("is_async", [False, True])
def test_spans_of_the_consumer_are_not_nested(recorder: SpanRecorder, is_async: bool) -> None:
    """The consumer's spans between two steps are not children of the generator; spans of the body are."""

    @pp.chain
    def produce() -> Iterator[int]:
        yield body_step(1)

    @pp.chain(name="produce")
    async def produce_later() -> AsyncIterator[int]:
        await asyncio.sleep(0)
        yield body_step(1)

    async def consume() -> None:
        async for _ in produce_later():
            between()

    with pp.span("consumer"):
        if is_async:
            asyncio.run(consume())
        else:
            for _ in produce():
                between()
    assert recorder.tree() == {
        "body_step": "produce",
        "between": "consumer",
        "produce": "consumer",
        "consumer": None,
    }


async def test_sent_values_and_exceptions_reach_an_async_generator(recorder: SpanRecorder) -> None:
    """An async generator receives sent values and thrown exceptions."""

    @pp.chain
    async def echo() -> AsyncGenerator[str, str]:
        try:
            yield f"got {(yield 'ready')}"
        except KeyError as error:
            yield f"caught {error.args[0]}"

    stream = echo()
    assert await anext(stream) == "ready"
    assert await stream.asend("x") == "got x"
    assert await stream.athrow(KeyError("k")) == "caught k"
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    assert recorder.output("echo") == "readygot xcaught k"


@pytest.mark.parametrize("is_async", [False, True])
async def test_early_break_ends_the_span_without_an_error(recorder: SpanRecorder, is_async: bool) -> None:
    """If the consumer stops reading, the span ends once, UNSET, with the items that were read."""
    if is_async:
        async for word in awords("a b c"):
            if word == "b":
                break
    else:
        for word in words("a b c"):
            if word == "b":
                break
    gc.collect()
    await turns(10)
    assert recorder.one().status.status_code is StatusCode.UNSET
    assert recorder.attributes()["pandaprobe.outcome"] == "partial"
    assert recorder.output() == "ab"


def test_span_held_open_across_yields_in_the_body(recorder: SpanRecorder) -> None:
    """A block inside the body keeps its children, and the consumer's spans are not among them."""

    @pp.chain
    def produce() -> Iterator[int]:
        with pp.span("held"):
            yield 1
            with pp.span("inner"):
                pass
            yield 2

    for n in produce():
        with pp.span(f"between-{n}"):
            pass
    assert recorder.tree() == {
        "between-1": None,
        "inner": "held",
        "between-2": None,
        "held": "produce",
        "produce": None,
    }


async def test_close_from_another_task(recorder: SpanRecorder) -> None:
    """`aclose()` in another task ends the span and does not change that task's context."""

    @pp.chain
    async def produce() -> AsyncGenerator[int, None]:
        with pp.span("held"):
            try:
                yield 1
            finally:
                await asyncio.sleep(0)

    async def close(stream: AsyncGenerator[int, None]) -> None:
        with recorder.tracer.start_as_current_span("closer") as closer:
            await stream.aclose()
            assert get_current_span() is closer

    stream = produce()
    assert await anext(stream) == 1
    await asyncio.create_task(close(stream))
    assert recorder.tree() == {"held": "produce", "produce": None, "closer": None}
    assert {span.status.status_code for span in recorder.spans} == {StatusCode.UNSET}


async def test_reader_cancelled_inside_a_step(recorder: SpanRecorder) -> None:
    """A cancelled read marks the span as cancelled, without an error."""

    @pp.llm
    async def slow() -> AsyncIterator[str]:
        yield "a"
        await asyncio.sleep(60)

    async def read() -> None:
        async for _ in slow():
            pass

    task = asyncio.create_task(read())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert recorder.attributes("slow")["pandaprobe.outcome"] == "cancelled"
    assert recorder.one("slow").status.status_code is StatusCode.UNSET
    assert recorder.output("slow") == "a"


def test_loop_that_shuts_down_closes_open_generators_once(
    recorder: SpanRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    """Generators open at the end of the loop clean up and end their spans once, without a RuntimeError."""
    open_streams: list[AsyncGenerator[int, None]] = []
    cleaned: list[int] = []

    @pp.chain
    async def produce(n: int) -> AsyncGenerator[int, None]:
        try:
            yield n
        finally:
            await asyncio.sleep(0)
            cleaned.append(n)

    async def main() -> None:
        for n in range(20):
            stream = produce(n)
            open_streams.append(stream)
            await anext(stream)

    asyncio.run(main())
    assert sorted(cleaned) == list(range(20))
    assert recorder.names == ["produce"] * 20
    assert [r.getMessage() for r in caplog.records if r.name == "asyncio"] == []
