"""Decorated functions, coroutines and methods: one span per call, and no change for the caller, however unusual."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import StatusCode, get_current_span

import pandaprobe_otel as pp
from pandaprobe_otel.process.guard import failures
from span_recorder import SpanRecorder, recording
from waiting import turns


async def test_callable_object_with_async_call(recorder: SpanRecorder) -> None:
    """An object whose `__call__` is a coroutine function is awaited inside its span."""

    class Model:
        async def __call__(self, prompt: str) -> str:
            await asyncio.sleep(0)
            return prompt + "!"

    assert await pp.llm(Model())("hi") == "hi!"
    assert recorder.output("Model") == "hi!"


def test_methods_class_methods_and_static_methods(recorder: SpanRecorder) -> None:
    """Decorators work on every type of method, above and below `@classmethod` and `@staticmethod`."""

    class Shop:
        @pp.tool
        def price(self, item: str) -> str:
            return f"price of {item}"

        @pp.tool
        @classmethod
        def above(cls, item: str) -> str:
            return f"{cls.__name__} {item}"

        @classmethod
        @pp.tool
        def below(cls, item: str) -> str:
            return f"{cls.__name__} {item}"

        @pp.tool
        @staticmethod
        def static_above(item: str) -> str:
            return item

        @staticmethod
        @pp.tool
        def static_below(item: str) -> str:
            return item

    class Bakery(Shop):
        pass

    assert Shop().price("tea") == "price of tea"
    assert Bakery.above("tea") == Bakery.below("tea") == "Bakery tea"
    assert Shop().static_above("tea") == Shop.static_below("tea") == "tea"
    assert recorder.names == ["price", "above", "below", "static_above", "static_below"]
    assert [recorder.input(name) for name in recorder.names] == [{"item": "tea"}] * 5


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt("stop"), SystemExit(3)])
def test_exception_passes_unchanged_and_is_recorded(recorder: SpanRecorder, error: BaseException) -> None:
    """The same exception object reaches the caller, and the span is an ERROR with an exception event."""

    @pp.tool
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        fail()
    assert caught.value is error
    span = recorder.one()
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == type(error).__name__
    (event,) = span.events
    assert event.name == "exception"
    assert (event.attributes or {})["exception.message"] == str(error)
    assert "in fail" in str((event.attributes or {})["exception.stacktrace"])


def test_wrong_arguments_raise_what_the_function_raises(recorder: SpanRecorder) -> None:
    """A call that does not fit the signature raises the function's own TypeError."""

    @pp.tool
    def find(query: str) -> str:
        return query

    with pytest.raises(TypeError, match="find"):
        find()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="find"):
        find("a", wrong=1)  # type: ignore[call-arg]
    assert recorder.names == ["find", "find"]


def test_input_is_what_the_call_saw(recorder: SpanRecorder) -> None:
    """Later changes of an argument or a result are not recorded."""

    @pp.chain
    def consume(items: list[int]) -> list[int]:
        items.clear()
        return items

    result = consume([1, 2])
    result.append(9)
    assert recorder.input() == [1, 2]
    assert recorder.output() == []


def test_result_that_is_none_or_unread_has_no_output(recorder: SpanRecorder) -> None:
    """None and an unread stream are not recorded as output, and the stream is not consumed."""

    @pp.tool
    def nothing() -> None:
        return None

    @pp.tool
    def stream() -> object:
        return iter([1, 2])

    nothing()
    assert list(stream()) == [1, 2]  # type: ignore[call-overload]
    assert "pandaprobe.output" not in recorder.attributes("nothing")
    assert "pandaprobe.output" not in recorder.attributes("stream")


def test_context_left_behind_by_the_body_does_not_leak(recorder: SpanRecorder) -> None:
    """If a body attaches a context and never detaches it, later spans do not become its children."""
    from opentelemetry.baggage import set_baggage
    from opentelemetry.context import attach

    @pp.tool
    def sloppy() -> None:
        attach(set_baggage("a", "b"))

    @pp.tool
    def after() -> None:
        pass

    sloppy()
    after()
    assert recorder.tree() == {"sloppy": None, "after": None}


def test_abandoned_coroutine_ends_its_span(recorder: SpanRecorder) -> None:
    """A coroutine closed half-way in another context ends its span without an error or a log line."""

    class Pause:
        def __await__(self):  # type: ignore[no-untyped-def]
            yield

    @pp.agent
    async def half() -> None:
        await Pause()

    coroutine = half()
    contextvars.copy_context().run(coroutine.send, None)
    assert recorder.spans == []
    coroutine.close()
    assert recorder.one("half").status.status_code is StatusCode.UNSET


def test_sampled_out_calls_make_no_spans_and_read_no_arguments() -> None:
    """If the sampler drops a trace, neither the call nor the calls and streams inside it make spans."""

    class Shy:
        def __repr__(self) -> str:
            raise AssertionError("somebody looked")

    @pp.tool
    def child(value: object) -> bool:
        return get_current_span().get_span_context().trace_flags.sampled

    @pp.chain
    def produce() -> Iterator[bool]:
        with pp.span("inside"):
            yield child(Shy())

    @pp.agent
    def parent(value: object) -> list[bool]:
        return list(produce())

    with recording(ParentBased(ALWAYS_OFF)) as dropped:
        assert parent(Shy()) == [False]
        assert pp.current_trace_id() is None
    assert dropped.spans == []


def test_fault_of_a_processor_does_not_reach_the_caller(
    recorder: SpanRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    """A span processor that raises loses the span, not the call, and is logged once."""
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

    class Broken(SpanProcessor):
        def on_start(self, span: Span, parent_context: Context | None = None) -> None:
            raise RuntimeError("broken processor")

        def on_end(self, span: ReadableSpan) -> None:
            raise RuntimeError("broken processor")

    recorder.provider.add_span_processor(Broken())

    @pp.tool
    def work() -> int:
        return 7

    before = failures().get("the start of a span", 0)
    assert [work(), work(), work()] == [7, 7, 7]
    assert failures()["the start of a span"] == before + 3
    assert sum(record.levelname == "WARNING" for record in caplog.records) == (1 if before == 0 else 0)
    caplog.clear()


async def test_children_of_gather_have_the_right_parents(recorder: SpanRecorder) -> None:
    """Concurrent calls are siblings, and calls inside each of them are its children."""

    @pp.tool
    async def leaf(n: int) -> int:
        await turns(2 * (3 - n))
        return n

    async def branch(n: int) -> int:
        async with pp.span(f"branch-{n}"):
            await turns(n)
            return await leaf(n)

    @pp.agent
    async def root() -> list[int]:
        return await asyncio.gather(*(branch(n) for n in range(3)))

    assert await root() == [0, 1, 2]
    parents = {recorder.input_of(span)["n"]: recorder.parent_of(span) for span in recorder.spans if span.name == "leaf"}
    assert parents == {0: "branch-0", 1: "branch-1", 2: "branch-2"}
    assert {recorder.parent_of(span) for span in recorder.spans if span.name.startswith("branch")} == {"root"}


def test_exception_whose_str_raises(recorder: SpanRecorder) -> None:
    """An exception whose `__str__` raises still reaches the caller, and its type is recorded."""

    class Hostile(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no str")

    error = Hostile()

    @pp.tool
    def fail() -> None:
        raise error

    with pytest.raises(Hostile) as caught:
        fail()
    assert caught.value is error
    assert "Hostile" in str(recorder.attributes()["error.type"])


def test_functions_keep_their_identity() -> None:
    """A decorated function keeps its name, documentation, signature, annotations and type."""

    def plain(a: int, *, b: str = "x") -> str:
        """Return a text."""
        return b * a

    async def coroutine(a: int) -> int:
        """Return the argument."""
        return a

    def generator(a: int) -> Iterator[int]:
        """Yield the argument."""
        yield a

    async def async_generator(a: int) -> AsyncIterator[int]:
        """Yield the argument asynchronously."""
        yield a

    checks = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction, inspect.isfunction)
    for factory in (pp.trace, pp.span, pp.agent, pp.tool, pp.llm, pp.chain, pp.retriever, pp.embedding):
        for function in (plain, coroutine, generator, async_generator):
            for decorated in (factory(function), factory(name="n")(function)):
                assert [check(decorated) for check in checks] == [check(function) for check in checks]
                assert decorated.__name__ == function.__name__
                assert decorated.__qualname__ == function.__qualname__
                assert decorated.__doc__ == function.__doc__
                assert decorated.__module__ == function.__module__
                assert inspect.get_annotations(decorated) == inspect.get_annotations(function)
                assert getattr(decorated, "__annotate__", None) is getattr(function, "__annotate__", None)  # 3.14
                assert inspect.signature(decorated) == inspect.signature(function)
                assert inspect.unwrap(decorated) is function


def test_blocks_that_are_shared_by_tasks_and_nested(recorder: SpanRecorder) -> None:
    """One block object entered by several tasks at once and inside itself makes separate spans."""
    shared = pp.span("shared")

    async def use(n: int) -> None:
        with pp.span(f"task-{n}"):
            async with shared as outer:
                outer.set_output(n)
                await turns(3 * (3 - n))
                with shared as inner:
                    inner.set_output(n + 10)
                    await turns(n)

    async def main() -> None:
        await asyncio.gather(*(use(n) for n in range(3)))

    asyncio.run(main())
    seen = sorted((recorder.output_of(s), recorder.parent_of(s)) for s in recorder.spans if s.name == "shared")
    assert seen == [(0, "task-0"), (1, "task-1"), (2, "task-2"), (10, "shared"), (11, "shared"), (12, "shared")]


def test_block_closed_by_another_task_logs_nothing(recorder: SpanRecorder) -> None:
    """A block in an undecorated async generator logs nothing if another task closes the generator."""

    async def produce() -> AsyncIterator[int]:
        with pp.span("held"), pp.context(session="s"):
            yield 1

    async def main() -> None:
        stream: Any = produce()
        await anext(stream)

        async def close() -> None:
            await stream.aclose()

        await asyncio.create_task(close())

    asyncio.run(main())
    assert recorder.names == ["held"]
