"""Session, user, tags and metadata: setting them, their reach, their precedence, and executors that carry them."""

from __future__ import annotations

import asyncio
import json
import textwrap
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import pytest
from opentelemetry import baggage
from opentelemetry.context import Context, attach, detach, get_current

import pandaprobe_otel as pp
from pandaprobe_otel.mapping.ids import trace_uuid
from pandaprobe_otel.process.guard import failures
from span_recorder import SpanRecorder
from subprocesses import environment, run_python
from waiting import turns


@pytest.fixture(autouse=True)
def _reset() -> Iterator[None]:
    """Undo calls of `set_session` and the like after each test."""
    yield
    pp.set_session(None)
    pp.set_user(None)


def values_on(recorder: SpanRecorder, name: str) -> dict[str, Any]:
    """Return the session, user, tags and metadata of a span."""
    wanted = {
        "session.id": "session",
        "user.id": "user",
        "pandaprobe.tags": "tags",
        "pandaprobe.metadata": "metadata",
    }
    found = {short: recorder.attributes(name).get(long) for long, short in wanted.items()}
    if found["metadata"] is not None:
        found["metadata"] = json.loads(found["metadata"])
    return {short: value for short, value in found.items() if value is not None}


@pp.tool
def work() -> None:
    """Make a span."""


def test_nested_contexts_add_up(recorder: SpanRecorder) -> None:
    """An inner block overrides the session, adds tags in order, and merges metadata."""
    with pp.context(session="outer", tags=["a", "b"], metadata={"x": 1, "y": 1}):
        with pp.context(session="inner", user="u", tags=["b", "c"], metadata={"y": 2}):
            work()
        with pp.span("back"):
            pass
    assert values_on(recorder, "work") == {
        "session": "inner",
        "user": "u",
        "tags": ("a", "b", "c"),
        "metadata": {"x": 1, "y": 2},
    }
    assert values_on(recorder, "back") == {"session": "outer", "tags": ("a", "b"), "metadata": {"x": 1, "y": 1}}


def test_argument_beats_context_beats_imperative_beats_baggage(recorder: SpanRecorder) -> None:
    """An argument overrides a block, a block overrides `set_session`, and `set_session` overrides baggage."""
    token = attach(baggage.set_baggage("session.id", "baggage"))
    with pp.span("1"):
        pass
    pp.set_session("imperative")
    with pp.span("2"):
        pass
    with pp.session("with"):
        with pp.span("3"):
            pass
        with pp.span("4", session_id="argument"), pp.span("5"):
            pass
    detach(token)
    sessions = {span.name: (span.attributes or {})["session.id"] for span in recorder.spans}
    assert sessions == {"1": "baggage", "2": "imperative", "3": "with", "4": "argument", "5": "argument"}


def test_set_session_marks_the_open_span_and_the_later_ones(recorder: SpanRecorder) -> None:
    """`set_session` in the middle of a trace marks the open span and all later ones."""
    with pp.span("open"):
        pp.set_session("s")
        pp.set_user("u")
        work()
    with pp.span("later"):
        pass
    pp.set_session(None)
    with pp.span("cleared"):
        pass
    assert (
        values_on(recorder, "open")
        == values_on(recorder, "work")
        == values_on(recorder, "later")
        == {"session": "s", "user": "u"}
    )
    assert values_on(recorder, "cleared") == {"user": "u"}


def test_set_session_in_a_task_stays_in_it(recorder: SpanRecorder) -> None:
    """A session set in a task does not reach other tasks."""
    both_have_one = asyncio.Barrier(2)

    async def serve(n: int) -> None:
        pp.set_session(f"s{n}")
        await both_have_one.wait()
        with pp.span(f"span-{n}"):
            pass

    async def main() -> None:
        await asyncio.gather(serve(1), serve(2))
        with pp.span("outside"):
            pass

    asyncio.run(main())
    assert values_on(recorder, "span-1") == {"session": "s1"}
    assert values_on(recorder, "span-2") == {"session": "s2"}
    assert values_on(recorder, "outside") == {}


async def test_async_blocks_shared_by_tasks(recorder: SpanRecorder) -> None:
    """A block entered by several tasks at once restores the context of each task."""
    shared = pp.context(tags=["shared"])

    async def serve(n: int) -> None:
        async with pp.session(f"s{n}"), shared:
            await turns(2 * (3 - n))
            async with shared:
                await turns(n)
            with pp.span(f"in-{n}"):
                pass
        with pp.span(f"out-{n}"):
            pass

    before = get_current()
    await asyncio.gather(*(serve(n) for n in range(3)))
    assert get_current() is before
    for n in range(3):
        assert values_on(recorder, f"in-{n}") == {"session": f"s{n}", "tags": ("shared",)}
        assert values_on(recorder, f"out-{n}") == {}


def test_blocks_as_decorators(recorder: SpanRecorder) -> None:
    """A block decorates functions, coroutines and generators; spans of a generator's consumer stay outside."""

    @pp.session("s")
    def function() -> int:
        work()
        return 1

    @pp.user("u")
    async def coroutine() -> int:
        with pp.span("awaited"):
            return 2

    @pp.context(tags=["t"])
    def generator() -> Iterator[int]:
        with pp.span("yielded"):
            yield 3

    @pp.context(tags=["t"])
    async def async_generator() -> AsyncIterator[int]:
        with pp.span("yielded later"):
            yield 4

    async def read() -> list[int]:
        return [n async for n in async_generator()]

    assert function() == 1
    assert asyncio.run(coroutine()) == 2
    for n in generator():
        with pp.span(f"consumer-{n}"):
            pass
    assert asyncio.run(read()) == [4]
    assert values_on(recorder, "work") == {"session": "s"}
    assert values_on(recorder, "awaited") == {"user": "u"}
    assert values_on(recorder, "yielded") == values_on(recorder, "yielded later") == {"tags": ("t",)}
    assert values_on(recorder, "consumer-3") == {}


def test_arguments_are_read_when_the_block_is_made(recorder: SpanRecorder) -> None:
    """Later changes of the metadata are not recorded; ids become text, and a single text as `tags` is one tag."""
    metadata, number = {"n": 1}, cast("Any", 7)
    with pp.context(session=number, user=number, tags="beta", metadata=metadata):
        metadata["n"] = 2
        work()
    assert values_on(recorder, "work") == {"session": "7", "user": "7", "tags": ("beta",), "metadata": {"n": 1}}


def test_arguments_that_cannot_be_read_do_not_raise(recorder: SpanRecorder, caplog: pytest.LogCaptureFixture) -> None:
    """A block with unreadable arguments runs without the values, and the fault is counted."""
    before = failures().get("session, user, tags or metadata", 0)
    with pp.context(tags=cast("Any", 7)):
        work()
    assert values_on(recorder, "work") == {}
    assert failures()["session, user, tags or metadata"] == before + 1
    caplog.clear()


def test_setters_of_the_official_sdk_return_tokens(recorder: SpanRecorder) -> None:
    """`set_current_session_id` and `set_current_user_id` return a token for the reset, as in the official SDK."""
    session, user = pp.set_current_session_id("s"), pp.set_current_user_id("u")
    with pp.span("inside"):
        pp.reset_current_session_id(session)
        pp.reset_current_user_id(user)
    work()
    assert values_on(recorder, "inside") == {"session": "s", "user": "u"}
    assert values_on(recorder, "work") == {}


def test_current_trace_id(recorder: SpanRecorder) -> None:
    """`current_trace_id()` returns PandaProbe's id of the trace for any current span, and None without a span."""
    assert pp.current_trace_id() is None
    with recorder.tracer.start_as_current_span("foreign") as span:
        assert pp.current_trace_id() == trace_uuid(span.get_span_context().trace_id)


def test_baggage_is_opt_in(recorder: SpanRecorder) -> None:
    """Session and user are written to W3C baggage only with the option; tags and metadata never are."""
    with pp.context(session="s", user="u"):
        assert dict(baggage.get_all()) == {}
    with pp.context(session="s", user="u", tags=["t"], metadata={"m": 1}, baggage=True):
        assert dict(baggage.get_all()) == {"session.id": "s", "user.id": "u"}
    assert dict(baggage.get_all()) == {}


# -- spans of other instrumentations, which the span processor stamps --------------------------------------------------


@pytest.fixture
def foreign(recorder: SpanRecorder, tmp_path: Path) -> Iterator[Callable[..., dict[str, Any]]]:
    """Yield a function that makes a span of another library and returns its attributes."""
    processor = pp.PandaProbeSpanProcessor(local=tmp_path / "traces")
    recorder.provider.add_span_processor(processor)

    def make(**arguments: Any) -> dict[str, Any]:
        recorder.tracer.start_span("foreign", **arguments).end()
        return recorder.attributes("foreign")

    yield make
    processor.shutdown()


def test_foreign_spans_get_the_values(foreign: Callable[..., dict[str, Any]]) -> None:
    """Spans of any instrumentation carry the values of the surrounding block, and none without a block."""
    expected = {"session.id": "s", "user.id": "u", "pandaprobe.tags": ("t",), "pandaprobe.metadata": '{"m":1}'}
    with pp.context(session="s", user="u", tags=["t"], metadata={"m": 1}):
        assert foreign() == expected


def test_a_foreign_span_keeps_its_own_values(foreign: Callable[..., dict[str, Any]]) -> None:
    """The context that a span was started with counts, and an attribute from its start is not overwritten."""
    with pp.context(session="given", user="given"):
        given = get_current()
    with pp.session("current"):
        assert foreign(context=given, attributes={"session.id": "own"}) == {"session.id": "own", "user.id": "given"}


def test_baggage_that_came_with_a_request(foreign: Callable[..., dict[str, Any]]) -> None:
    """`session.id` and `user.id` of W3C baggage are copied to the span, and other entries are not."""
    context = baggage.set_baggage("session.id", "s", Context())
    for name, value in (("user.id", "u"), ("secret", "x")):
        context = baggage.set_baggage(name, value, context)
    assert foreign(context=context) == {"session.id": "s", "user.id": "u"}


def test_spans_without_values_stay_bare(foreign: Callable[..., dict[str, Any]]) -> None:
    """Without any values, no attribute is written."""
    assert foreign() == {}


# -- executors ---------------------------------------------------------------------------------------------------------


@pp.tool
def double(n: int) -> int:
    """Make a span in the current thread."""
    return n * 2


def test_map_runs_concurrently_in_the_same_context(recorder: SpanRecorder) -> None:
    """Several calls of one `map` run in the submitter's context at the same time."""
    barrier = threading.Barrier(3)

    def wait(n: int) -> int:
        barrier.wait(timeout=60)
        return double(n)

    with pp.context_executor(ThreadPoolExecutor(3)) as executor, pp.span("mapper"):
        assert list(executor.map(wait, range(3))) == [0, 2, 4]
    assert [recorder.parent_of(span) for span in recorder.spans if span.name == "double"] == ["mapper"] * 3


def test_shutdown_and_other_attributes_are_the_executors(recorder: SpanRecorder) -> None:
    """The wrapper shuts down the wrapped executor, and gives access to its attributes."""
    inner = ThreadPoolExecutor(3)
    executor = pp.context_executor(inner)
    assert executor._max_workers == 3  # type: ignore[attr-defined]
    executor.shutdown()
    assert inner._shutdown


def test_process_pool_works_without_context() -> None:
    """Tasks of a wrapped process pool run without the context, since contexts cannot be pickled."""
    with pp.context_executor(ProcessPoolExecutor(1, mp_context=get_context("spawn"))) as executor:
        assert executor.submit(abs, -2).result(timeout=60) == 2
        assert list(executor.map(abs, [-1, -2], chunksize=2)) == [1, 2]


CARRIED = """
import threading
from concurrent.futures import ThreadPoolExecutor
from opentelemetry import trace
import pandaprobe_otel
from pandaprobe_otel import agent
def here(n=0):
    return trace.get_current_span().get_span_context().trace_id
def in_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(here()))
    thread.start()
    thread.join()
    return found[0]
"""


@pytest.mark.parametrize(("threads", "pools"), [(None, True), (True, True), (False, False)])
def test_init_carries_the_context_into_pools(tmp_path: Path, threads: object, pools: bool) -> None:
    """Tasks of `submit` and `map` belong to the trace of the caller, and outside of a trace to none."""
    code = f"""
    import inspect
    before = inspect.signature(ThreadPoolExecutor.submit)
    for _ in range(2):
        handle = pandaprobe_otel.init(instrument=False, threads={threads!r})
    with ThreadPoolExecutor(1) as pool:
        with agent("a"):
            mine = here()
            print([pool.submit(here).result() == mine, *[one == mine for one in pool.map(here, [1, 2])]])
            print(in_thread() == mine)
        print(pool.submit(here).result(), in_thread(), inspect.signature(ThreadPoolExecutor.submit) == before)
    handle.shutdown()
    """
    env = environment(PANDAPROBE_LOCAL=str(tmp_path / "t.jsonl"))
    result = run_python(CARRIED + textwrap.dedent(code), env, set_up=False)
    assert result.stdout == f"{[pools] * 3}\nFalse\n0 0 True\n", result.stderr[-2000:]
