"""Session, user, tags and metadata: setting them, their reach, and their precedence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from opentelemetry import baggage
from opentelemetry.context import Context, attach, detach, get_current

import pandaprobe_otel as pp
from pandaprobe_otel.mapping.ids import trace_uuid
from pandaprobe_otel.process.guard import failures
from span_recorder import SpanRecorder
from task_order import turns


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


def test_context_reaches_every_span_inside(recorder: SpanRecorder) -> None:
    """With the exporter alone, spans inside the block carry all four values, and spans after it none."""
    with pp.context(session="s", user="u", tags=["a", "b"], metadata={"plan": "pro"}), pp.span("outer"):
        work()
    with pp.span("after"):
        pass
    expected = {"session": "s", "user": "u", "tags": ("a", "b"), "metadata": {"plan": "pro"}}
    assert values_on(recorder, "outer") == values_on(recorder, "work") == expected
    assert values_on(recorder, "after") == {}


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


def test_imperative_values_reach_foreign_spans(foreign: Callable[..., dict[str, Any]]) -> None:
    """`set_session` reaches spans of any instrumentation."""
    pp.set_session("s")
    assert foreign() == {"session.id": "s"}


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
