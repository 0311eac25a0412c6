"""Session, user, tags and metadata: how they are said, how far they reach, and who wins."""

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
    """Take imperative settings back after each test."""
    session = trace_context.set_current_session_id(None)
    user = trace_context.set_current_user_id(None)
    yield
    trace_context.reset_current_session_id(session)
    trace_context.reset_current_user_id(user)


def said(recorder: SpanRecorder, name: str) -> dict[str, Any]:
    """Return what a span says about its trace."""
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
    """Spans inside carry all four values, spans after it none, with the exporter alone."""
    with pp.context(session="s", user="u", tags=["a", "b"], metadata={"plan": "pro"}), pp.span("outer"):
        work()
    with pp.span("after"):
        pass
    expected = {"session": "s", "user": "u", "tags": ("a", "b"), "metadata": {"plan": "pro"}}
    assert said(recorder, "outer") == said(recorder, "work") == expected
    assert said(recorder, "after") == {}


def test_nested_contexts_add_up(recorder: SpanRecorder) -> None:
    """The inner session wins, tags are united in order, metadata is merged."""
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
    """The four levels, taken away one by one."""
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
    """`session` and `user` are the official SDK's blocks."""
    with pp.session("s"), pp.user("u"):
        work()
    assert said(recorder, "work") == {"session": "s", "user": "u"}


def test_set_session_marks_the_open_span_and_the_later_ones(recorder: SpanRecorder) -> None:
    """A session that is found out in the middle of a trace is on the open span, and on all that follow."""
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
    """Tasks do not see each other's sessions."""
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
    """One block entered by several tasks at once restores each one's own context."""
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
    """A block decorates functions, coroutines and generators; a consumer's spans stay outside."""

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
    """A block neither swallows nor changes an exception, and restores the context."""
    before = get_current()
    error = ValueError("no")
    with pytest.raises(ValueError) as caught, pp.context(session="s"):
        raise error
    assert caught.value is error
    assert get_current() is before


def test_baggage_is_opt_in(recorder: SpanRecorder) -> None:
    """Session and user go into W3C baggage only when asked for; tags and metadata never."""
    with pp.context(session="s", user="u"):
        assert dict(baggage.get_all()) == {}
    with pp.context(session="s", user="u", tags=["t"], metadata={"m": 1}, baggage=True):
        assert dict(baggage.get_all()) == {"session.id": "s", "user.id": "u"}
    assert dict(baggage.get_all()) == {}


def test_metadata_is_read_when_the_block_is_made(recorder: SpanRecorder) -> None:
    """Later changes of the mapping do not show."""
    metadata = {"n": 1}
    with pp.context(metadata=metadata):
        metadata["n"] = 2
        work()
    assert said(recorder, "work") == {"metadata": {"n": 1}}


def test_ids_of_other_types_become_text(recorder: SpanRecorder) -> None:
    """Numbers and UUIDs are common ids."""
    number: Any = 7
    with pp.context(session=number, user=number):
        work()
    assert said(recorder, "work") == {"session": "7", "user": "7"}


def test_one_tag_given_as_text(recorder: SpanRecorder) -> None:
    """A single text is one tag, not its letters."""
    with pp.context(tags="beta"):
        work()
    assert said(recorder, "work") == {"tags": ("beta",)}


def test_arguments_that_cannot_be_read_do_not_raise(recorder: SpanRecorder, caplog: pytest.LogCaptureFixture) -> None:
    """The block runs without the values, and the fault is counted."""
    wrong: Any = 7
    before = failures().get("session, user, tags or metadata", 0)
    with pp.context(tags=wrong):
        work()
    assert said(recorder, "work") == {}
    assert failures()["session, user, tags or metadata"] == before + 1
    caplog.clear()


def test_twins_of_the_official_sdk(recorder: SpanRecorder) -> None:
    """`set_current_session_id` gives a token that takes it back."""
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
    """Inside a trace it is the id that PandaProbe shows, whoever made the span; outside None."""
    assert pp.current_trace_id() is None
    with recorder.tracer.start_as_current_span("foreign") as span:
        assert pp.current_trace_id() == trace_uuid(span.get_span_context().trace_id)
    assert pp.current_trace_id() is None
