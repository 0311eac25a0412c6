"""Session, user, tags and metadata: setting them, their reach, and their precedence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from opentelemetry import baggage
from opentelemetry.context import attach, detach, get_current

import pandaprobe_otel as pp
from pandaprobe_otel.capture import trace_context
from pandaprobe_otel.mapping.ids import trace_uuid
from pandaprobe_otel.process.guard import failures
from span_recorder import SpanRecorder
from task_order import turns


@pytest.fixture(autouse=True)
def _reset() -> Iterator[None]:
    """Undo calls of `set_session` and the like after each test."""
    session = trace_context.set_current_session_id(None)
    user = trace_context.set_current_user_id(None)
    yield
    trace_context.reset_current_session_id(session)
    trace_context.reset_current_user_id(user)


def said(recorder: SpanRecorder, name: str) -> dict[str, Any]:
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
    assert said(recorder, "outer") == said(recorder, "work") == expected
    assert said(recorder, "after") == {}


def test_nested_contexts_add_up(recorder: SpanRecorder) -> None:
    """An inner block overrides the session, adds tags in order, and merges metadata."""
    with pp.context(session="outer", tags=["a", "b"], metadata={"x": 1, "y": 1}):
        with pp.context(session="inner", user="u", tags=["b", "c"], metadata={"y": 2}):
            work()
        with pp.span("back"):
            pass
    assert said(recorder, "work") == {
        "session": "inner",
        "user": "u",
        "tags": ("a", "b", "c"),
        "metadata": {"x": 1, "y": 2},
    }
    assert said(recorder, "back") == {"session": "outer", "tags": ("a", "b"), "metadata": {"x": 1, "y": 1}}


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


def test_session_and_user_blocks(recorder: SpanRecorder) -> None:
    """`session` and `user` set the session and user of spans inside, as in the official SDK."""
    with pp.session("s"), pp.user("u"):
        work()
    assert said(recorder, "work") == {"session": "s", "user": "u"}


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
    assert said(recorder, "open") == said(recorder, "work") == said(recorder, "later") == {"session": "s", "user": "u"}
    assert said(recorder, "cleared") == {"user": "u"}


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
    assert said(recorder, "span-1") == {"session": "s1"}
    assert said(recorder, "span-2") == {"session": "s2"}
    assert said(recorder, "outside") == {}


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
        assert said(recorder, f"in-{n}") == {"session": f"s{n}", "tags": ("shared",)}
        assert said(recorder, f"out-{n}") == {}


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
    assert said(recorder, "work") == {"session": "s"}
    assert said(recorder, "awaited") == {"user": "u"}
    assert said(recorder, "yielded") == said(recorder, "yielded later") == {"tags": ("t",)}
    assert said(recorder, "consumer-3") == {}


def test_exception_passes_through_a_block() -> None:
    """An exception in a block reaches the caller unchanged, and the context is restored."""
    before = get_current()
    error = ValueError("no")
    with pytest.raises(ValueError) as caught, pp.context(session="s"):
        raise error
    assert caught.value is error
    assert get_current() is before


def test_baggage_is_opt_in(recorder: SpanRecorder) -> None:
    """Session and user are written to W3C baggage only with the option; tags and metadata never are."""
    with pp.context(session="s", user="u"):
        assert dict(baggage.get_all()) == {}
    with pp.context(session="s", user="u", tags=["t"], metadata={"m": 1}, baggage=True):
        assert dict(baggage.get_all()) == {"session.id": "s", "user.id": "u"}
    assert dict(baggage.get_all()) == {}


def test_metadata_is_read_when_the_block_is_made(recorder: SpanRecorder) -> None:
    """A block copies its metadata, so later changes of the mapping are not recorded."""
    metadata = {"n": 1}
    with pp.context(metadata=metadata):
        metadata["n"] = 2
        work()
    assert said(recorder, "work") == {"metadata": {"n": 1}}


def test_ids_of_other_types_become_text(recorder: SpanRecorder) -> None:
    """Ids that are numbers or UUIDs are recorded as text."""
    number: Any = 7
    with pp.context(session=number, user=number):
        work()
    assert said(recorder, "work") == {"session": "7", "user": "7"}


def test_one_tag_given_as_text(recorder: SpanRecorder) -> None:
    """A single text as `tags` is one tag."""
    with pp.context(tags="beta"):
        work()
    assert said(recorder, "work") == {"tags": ("beta",)}


def test_arguments_that_cannot_be_read_do_not_raise(recorder: SpanRecorder, caplog: pytest.LogCaptureFixture) -> None:
    """A block with unreadable arguments runs without the values, and the fault is counted."""
    wrong: Any = 7
    before = failures().get("session, user, tags or metadata", 0)
    with pp.context(tags=wrong):
        work()
    assert said(recorder, "work") == {}
    assert failures()["session, user, tags or metadata"] == before + 1
    caplog.clear()


def test_twins_of_the_official_sdk(recorder: SpanRecorder) -> None:
    """`set_current_session_id` and `set_current_user_id` return a token for the reset, as in the official SDK."""
    token = trace_context.set_current_session_id("s")
    user = trace_context.set_current_user_id("u")
    work()
    trace_context.reset_current_session_id(token)
    trace_context.reset_current_user_id(user)
    with pp.span("after"):
        pass
    assert said(recorder, "work") == {"session": "s", "user": "u"}
    assert said(recorder, "after") == {}


def test_current_trace_id(recorder: SpanRecorder) -> None:
    """`current_trace_id()` returns PandaProbe's id of the trace for any current span, and None without a span."""
    assert pp.current_trace_id() is None
    with recorder.tracer.start_as_current_span("foreign") as span:
        assert pp.current_trace_id() == trace_uuid(span.get_span_context().trace_id)
    assert pp.current_trace_id() is None
