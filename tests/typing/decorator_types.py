"""Exact types of decorated functions: checked by mypy and pyright in strict mode, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import assert_type

import pandaprobe_otel as pp
from pandaprobe_otel.capture.factories import SpanBlock
from pandaprobe_otel.capture.handles import SpanHandle, TraceHandle


@pp.trace
def bare(a: int, *, b: str = "x") -> str:
    """Decorator without parentheses."""
    return b * a


@pp.tool(name="n", ignore=("b",), capture=("a",), tags=["t"], metadata={"k": 1}, session_id="s", user_id="u")
def with_options(a: int, *, b: str = "x") -> str:
    """Decorator with options."""
    return b * a


@pp.span("title", kind="RETRIEVER", model="m")
def with_title(a: int) -> list[int]:
    """Decorator with a name as its first argument."""
    return [a]


@pp.agent
async def coroutine(a: int) -> bytes:
    """Coroutine function."""
    return bytes(a)


@pp.llm(reduce="".join)
def generator(a: str) -> Iterator[str]:
    """Generator."""
    yield a


@pp.chain
async def async_generator(a: int) -> AsyncIterator[int]:
    """Async generator."""
    yield a


@pp.context(session="s")
def in_context(a: int) -> int:
    """Function inside a context block."""
    return a


@pp.agent
class Planner:
    field: int = 1

    @pp.tool
    def method(self, a: int) -> float:
        return a / 2

    @pp.tool(name="m")
    async def async_method(self, a: int) -> float:
        return a / 2

    @classmethod
    @pp.retriever
    def below(cls, a: int) -> Planner:
        return cls()

    @pp.embedding
    @classmethod
    def above(cls, a: int) -> list[float]:
        return [float(a)]

    @staticmethod
    @pp.tool
    def static_below(a: str) -> str:
        return a

    @pp.tool
    @staticmethod
    def static_above(a: str) -> str:
        return a


assert_type(bare(1, b="y"), str)
assert_type(with_options(1, b="y"), str)
assert_type(with_title(1), list[int])
assert_type(generator("a"), Iterator[str])
assert_type(async_generator(1), AsyncIterator[int])
assert_type(in_context(1), int)
assert_type(Planner().method(1), float)
assert_type(Planner().field, int)
assert_type(Planner.below(1), Planner)
assert_type(Planner.above(1), list[float])
assert_type(Planner.static_below("a"), str)
assert_type(Planner().static_above("a"), str)
assert_type(pp.init(spans=lambda one: not one.name.startswith("health")), pp.PandaProbe)
assert_type(pp.span("x"), SpanBlock[SpanHandle])
assert_type(pp.trace("x"), SpanBlock[TraceHandle])
assert_type(pp.current_trace_id(), str | None)
assert_type(pp.context_executor(ThreadPoolExecutor()), Executor)

takes_function: Callable[[int], list[int]] = with_title


async def blocks() -> None:
    """Blocks, handles and awaited calls."""
    assert_type(await coroutine(1), bytes)
    assert_type(await Planner().async_method(1), float)
    with pp.span("x", kind=pp.SpanKind.TOOL, input=[1]) as s:
        assert_type(s, SpanHandle)
        s.output = 3
        s.model = "m"
        s.set_token_usage(prompt_tokens=1, completion_tokens=2, cached_tokens=3)
        assert_type(s.span_id, str)
    async with pp.trace("x") as t:
        assert_type(t, TraceHandle)
        with t.span("y", kind="LLM") as inner:
            assert_type(inner, SpanHandle)
    with pp.start_trace("x", input={"messages": []}, session_id="s", tags=["a"]) as root:
        assert_type(root, TraceHandle)
        assert_type(root.trace_id, str)
        root.set_status(pp.TraceStatus.COMPLETED)
    with pp.context(session="s", user="u", tags=["t"], metadata={"k": 1}, baggage=True), pp.session("s"):
        pass
    async with pp.user("u"):
        pass


bare("no")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
bare(1, c=2)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
with_options(a="no")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
Planner().method()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
pp.tool(nmae="typo")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
pp.agnet()  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]
