"""Unusual calls of decorated functions that must not change or break an app."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import pandaprobe_otel as pp
from span_recorder import SpanRecorder
from task_order import turns


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


def test_cyclic_argument(recorder: SpanRecorder) -> None:
    """An argument that contains itself is shown with a marker."""
    cyclic: dict[str, Any] = {"name": "loop"}
    cyclic["self"] = cyclic

    @pp.tool
    def use(value: dict[str, Any]) -> dict[str, Any]:
        return value

    assert use(cyclic) is cyclic
    assert recorder.input()["value"]["name"] == "loop"
    assert recorder.output()["name"] == "loop"


def test_argument_whose_repr_raises(recorder: SpanRecorder) -> None:
    """An object whose `__repr__` raises is replaced by a placeholder, and other arguments are recorded."""

    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

    @pp.tool
    def use(good: str, bad: object) -> object:
        return bad

    bad = Hostile()
    assert use("fine", bad) is bad
    assert recorder.input()["good"] == "fine"
    assert "Hostile" in recorder.input()["bad"]
    assert "Hostile" in recorder.output()


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


def test_self_is_left_out(recorder: SpanRecorder) -> None:
    """The receiver of a method is not recorded as input."""

    class Service:
        password = "secret"

        @pp.tool
        def find(self, query: str) -> str:
            return query

        @pp.agent
        def ping(self) -> str:
            return "pong"

    Service().find("tea")
    Service().ping()
    assert recorder.input("find") == {"query": "tea"}
    assert "pandaprobe.input" not in recorder.attributes("ping")


def test_five_megabytes_of_text_are_cheap(recorder: SpanRecorder) -> None:
    """A text of 5 MB is cut before it is encoded, so only the kept part costs time."""
    text = "lorem ipsum " * (5_000_000 // 12)

    @pp.agent
    def read(document: str) -> int:
        return len(document)

    read("warm up")

    def takes(document: str) -> float:
        times: list[float] = []
        for _ in range(5):
            started = time.thread_time()
            read(document)
            times.append(time.thread_time() - started)
        return min(times)

    assert takes(text) < 5 * takes(text[:300_000])
    sizes = [len(str((span.attributes or {})["pandaprobe.input"])) for span in recorder.spans]
    assert max(sizes) <= 262_144


def test_long_stream_is_bounded(recorder: SpanRecorder) -> None:
    """A stream of 20 MB keeps a bounded part and the length of the missing part."""

    @pp.llm
    def flood() -> Iterator[str]:
        for _ in range(20_000):
            yield "x" * 1000

    assert sum(len(chunk) for chunk in flood()) == 20_000_000
    output = recorder.output("flood")
    assert len(output) < 262_144
    assert output.endswith(f"[cut {20_000_000 - output.count('x')} more characters]")


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


def test_recursion_error_is_the_users_own(recorder: SpanRecorder, caplog: pytest.LogCaptureFixture) -> None:
    """Endless recursion in a decorated function raises RecursionError, and its cost per level does not double."""

    @pp.tool
    def forever(n: int) -> int:
        return forever(n + 1)

    with pytest.raises(RecursionError):
        forever(0)
    caplog.clear()  # near the limit, our own code runs out of stack too, and logs it once


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


def test_many_threads_at_once(recorder: SpanRecorder) -> None:
    """Many threads do not change the parents of each other's spans."""
    barrier = threading.Barrier(8)

    @pp.tool
    def inner(n: int) -> int:
        return n

    @pp.agent
    def outer(n: int) -> int:
        barrier.wait()
        return inner(n)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(outer, range(8))) == list(range(8))
    inputs = {s.context.span_id: recorder.input_of(s) for s in recorder.spans if s.name == "outer" and s.context}
    for span in recorder.spans:
        if span.name == "inner":
            assert span.parent is not None
            assert inputs[span.parent.span_id] == recorder.input_of(span)["n"]


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
