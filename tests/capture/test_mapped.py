"""Decorated code as traces of PandaProbe, in the forms that evaluations read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

import pandaprobe_otel as pp
from pandaprobe_otel.mapping import map_trace
from span_recorder import SpanRecorder


@pp.tool
def search(query: str, limit: int = 3) -> list[str]:
    """Find documents."""
    return [query] * limit


@pp.llm(model="small")
def ask(messages: list[dict[str, str]]) -> Iterator[str]:
    """Stream an answer."""
    yield "hel"
    yield "lo"


@pp.agent
def answer(question: str) -> str:
    """Answer with a tool and a model."""
    search(question)
    return "".join(ask([{"role": "user", "content": question}]))


def test_error_says_what_was_in_a_group_and_what_was_noted(recorder: SpanRecorder) -> None:
    """The error of an exception group lists its exceptions, and notes are included.

    The text of a group alone gives only their number, and a TaskGroup makes a group of every failure.
    """
    late = TimeoutError("no answer of the stock")
    late.add_note("while asking for A-17")

    @pp.agent
    def fail() -> None:
        raise ExceptionGroup("two tasks failed", [ValueError("no stock"), ExceptionGroup("in it", [late])])

    with pytest.raises(ExceptionGroup):
        fail()
    (span,) = map_trace(recorder.spans)["spans"]
    assert span["error"].splitlines() == [
        "two tasks failed (2 sub-exceptions)",
        "ValueError: no stock",
        "TimeoutError: no answer of the stock",
    ]
    assert "while asking for A-17" in str(span["metadata"])

    @pp.agent
    def noted() -> None:
        raise late

    recorder.clear()
    with pytest.raises(TimeoutError):
        noted()
    (span,) = map_trace(recorder.spans)["spans"]
    assert span["error"].splitlines() == ["no answer of the stock", "while asking for A-17"]


def test_the_error_of_a_large_group_is_bounded(recorder: SpanRecorder) -> None:
    """The error of a deep or wide group of exceptions has a few lines, and a long one keeps its beginning."""
    deep: Exception = ValueError("innermost")
    for _ in range(2000):
        deep = ExceptionGroup("", [deep])
    wide = ExceptionGroup("many", [ValueError(str(n)) for n in range(500)])
    for error in (deep, wide, ValueError("e" * 20_000)):
        with pytest.raises(type(error)), pp.tool("fail"):
            raise error
    spans = map_trace(recorder.spans)["spans"]
    assert spans[0]["error"].splitlines()[-1] == "ValueError: innermost"
    assert len(spans[1]["error"].splitlines()) == 11
    assert spans[2]["error"] == f"{'e' * 16_384}…[cut 3616 of 20000 characters]"
    assert spans[2]["metadata"]["stack_trace"].startswith("[cut ")


@pytest.mark.parametrize("answered", ["on its way", {"status": "on its way"}])
def test_agent_below_a_span_of_a_web_request_gives_the_trace_its_content(
    answered: object, recorder: SpanRecorder
) -> None:
    """A trace below a web request has the agent's question and answer, not those of the model that the agent calls."""

    @pp.llm(model="small")
    def draft(messages: list[dict[str, str]]) -> str:
        return "a draft"

    @pp.agent
    def handle(question: str) -> object:
        if answered == "on its way":
            draft([{"role": "user", "content": "Answer briefly: " + question}])
        return answered

    with recorder.tracer.start_as_current_span("GET /orders"):
        handle("Where is my order?")
    trace = map_trace(recorder.spans)
    assert trace["input"] == {"messages": [{"role": "user", "content": "Where is my order?"}]}
    said = {"messages": [{"role": "assistant", "content": answered}]}
    assert trace["output"] == (said if isinstance(answered, str) else answered)


async def test_a_cancelled_agent_neither_failed_nor_succeeded(recorder: SpanRecorder) -> None:
    """A cancelled agent's span has no error; its trace has the status ERROR and the outcome "cancelled"."""

    @pp.agent
    async def wait() -> None:
        await asyncio.sleep(60)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    trace = map_trace(recorder.spans)
    assert trace["status"] == "ERROR"
    assert trace["metadata"]["outcome"] == trace["spans"][0]["metadata"]["outcome"] == "cancelled"
    assert trace["spans"][0]["status"] == "UNSET"
    assert "error" not in trace["spans"][0]


def test_a_span_names_its_function(recorder: SpanRecorder) -> None:
    """The span of a decorated function has the function's module and qualified name; a block's span has neither."""

    class Shop:
        @pp.agent
        def reply(self, question: str) -> str:
            return question

    answer("why?")
    Shop().reply("why?")
    with pp.span("block"):
        pass
    named = {span.name: (span.attributes or {}).get("code.function.name") for span in recorder.spans}
    assert named["answer"] == f"{__name__}.answer"
    assert named["reply"] == f"{__name__}.test_a_span_names_its_function.<locals>.Shop.reply"
    assert named["block"] is None


@pytest.mark.parametrize(("texts", "size"), [(1, 2), (10, 1536), (2000, 8)])
@pytest.mark.parametrize("way", ["decorator", "set_output", "inside"])
def test_the_vectors_of_an_embedding_are_never_recorded(
    texts: int, size: int, way: str, recorder: SpanRecorder
) -> None:
    """A marker replaces each vector, however many and long they are, also inside other values."""
    vectors = [[0.123456] * size for _ in range(texts)]

    @pp.embedding
    def embed() -> Any:
        return {"vectors": vectors, "took": "1 s"} if way == "inside" else vectors

    if way == "set_output":
        with pp.span("embed", kind="EMBEDDING") as block:
            block.set_output(vectors)
    else:
        embed()
    text = json.dumps([dict(span.attributes or {}) for span in recorder.spans] + [map_trace(recorder.spans)])
    assert "0.123456" not in text
    assert f"[vector of {size} numbers]" in text
