"""Conservation: every value that decorated code receives or returns is in the trace, or a marker in its place.

Values of every type are planted at every place, each with its own text or numbers, and are searched for on the span of
the decorator and in the mapped trace.
"""

from __future__ import annotations

import asyncio
import enum
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from pydantic import BaseModel

import pandaprobe_otel as pp
from pandaprobe_otel.mapping import map_trace
from span_recorder import SpanRecorder

KINDS: dict[str, Callable[..., Any]] = {
    "agent": pp.agent,
    "tool": pp.tool,
    "llm": pp.llm,
    "chain": pp.chain,
    "retriever": pp.retriever,
    "embedding": pp.embedding,
    "trace": pp.trace,
    "span": pp.span,
}


@dataclass
class Order:
    """A dataclass."""

    number: str


class Customer(BaseModel):
    """A pydantic model."""

    name: str


class Shown:
    """An object with a `__repr__`."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return f"<Shown {self._text}>"


class Planted:
    """Values of every type for one place, and the texts by which a test finds them."""

    _numbers = iter(range(1_000_001, 2**31, 1_009))

    def __init__(self, place: str) -> None:
        number = next(self._numbers)
        moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number, microseconds=number % 1_000_000)
        member = enum.Enum("member", {"RED": f"{place}-enum"})
        self.values: dict[str, Any] = {
            "text": f"{place}-text",
            "number": number,
            "decimal_point": number + 0.25,
            f"{place}_truth": True,
            "nested": {"list": [{"deep": f"{place}-nested"}]},
            "bytes": f"{place}-bytes".encode(),
            "dataclass": Order(f"{place}-dataclass"),
            "model": Customer(name=f"{place}-model"),
            "moment": moment,
            "decimal": Decimal(number) + Decimal("0.5"),
            "member": member["RED"],
            "set": {f"{place}-set"},
            "object": Shown(f"{place}-object"),
        }
        self._texts = {
            **{name: f"{place}-{name}" for name in ("text", "nested", "dataclass", "model", "set", "object")},
            "number": str(number),
            "decimal_point": f"{number}.25",
            f"{place}_truth": f'"{place}_truth":true',
            # Bytes are recorded as a marker with their kind, size and digest.
            "bytes": hashlib.sha256(f"{place}-bytes".encode()).hexdigest(),
            "moment": moment.isoformat(),
            "decimal": f"{number}.5",
            "member": f"{place}-enum",
        }

    def missing_in(self, text: str) -> list[str]:
        """Return the types whose value is not in this JSON text."""
        plain = text.replace('": true', '":true')
        return [name for name, found in self._texts.items() if found not in plain]


def trace_text(recorder: SpanRecorder) -> str:
    """Return the mapped trace of the finished spans as JSON text."""
    return json.dumps(map_trace(recorder.spans))


def run_form(form: str, decorate: Callable[..., Any], given: dict[str, Planted]) -> None:
    """Call a decorated function of this form, with each `Planted` in the place of its name."""
    values = {place: planted.values for place, planted in given.items()}
    result, default = values["result"], values["default"]
    work: Callable[..., Any]

    if form == "function":

        @decorate
        def function(one: Any, *args: Any, two: Any, three: Any = default, **kwargs: Any) -> Any:
            return result

        work = function
    elif form == "coroutine":

        @decorate
        async def coroutine(one: Any, *args: Any, two: Any, three: Any = default, **kwargs: Any) -> Any:
            return result

        work = coroutine
    elif form == "generator":

        @decorate
        def generator(one: Any, *args: Any, two: Any, three: Any = default, **kwargs: Any) -> Generator[Any, Any, Any]:
            yield values["yielded"]
            return result

        work = generator
    elif form == "async generator":

        @decorate
        async def stream(one: Any, *args: Any, two: Any, three: Any = default, **kwargs: Any) -> AsyncIterator[Any]:
            yield values["yielded"]
            yield result

        work = stream
    elif form == "single argument":
        decorate(lambda one: result)([values, default])
        return
    else:
        with decorate("block", input={"p": values["positional"], "k": values["keyword"], "d": default}) as span:
            span.set_metadata({"r": values["rest"]})
            span.set_model_parameters({"w": values["words"]})
            span.set_output(result)
        return
    finish(work(values["positional"], values["rest"], two=values["keyword"], other=values["words"]))


def finish(outcome: Any) -> None:
    """Await a coroutine, or read a stream to its end."""

    async def read() -> None:
        async for _ in outcome:
            pass

    if isinstance(outcome, AsyncIterator):
        asyncio.run(read())
    elif isinstance(outcome, Coroutine):
        asyncio.run(outcome)
    elif isinstance(outcome, Iterator):
        for _ in outcome:
            pass


PLACES = ("positional", "keyword", "rest", "words", "default", "result")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["function", "coroutine", "generator", "async generator", "single argument", "block"])
def test_planted_values_are_in_the_trace(recorder: SpanRecorder, form: str, kind: str) -> None:
    """Arguments, defaults, results, yields and return values of generators, of every type, are in the mapped trace."""
    places = (*PLACES, "yielded") if "generator" in form else PLACES
    given = {place: Planted(place) for place in places}
    run_form(form, KINDS[kind], given)
    assert missing(given, trace_text(recorder)) == {}


def missing(given: dict[str, Planted], text: str) -> dict[str, list[str]]:
    """Return the planted values that are not in the text, by place."""
    return {name: lost for name, one in given.items() if (lost := one.missing_in(text))}


def shapes(beside: Any, inside: Any, out: Any, answer: Any) -> dict[str, tuple[dict[str, Any], Any]]:
    """Return arguments and results in known forms, with planted values beside and inside them."""
    user = {"role": "user", "content": "why?", "more": inside}
    assistant = {"role": "assistant", "content": "yes", "more": answer}
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    tools = [{"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "content": "r"}]
    parts = {"role": "user", "content": [{"type": "text", "text": "why?", "more": inside}]}
    document = {"text": "t", "title": "a", "metadata": {"m": 1}, "score": 0.5, "more": answer}
    return {
        "messages": ({"messages": [user], "customer": beside}, {"messages": [assistant], "beside": out}),
        "documents": (
            {"query": {"text": "why?", "more": inside}, "top_k": 3, "filters": beside},
            {"documents": [document], "total": out},
        ),
        "vectors": (
            {"texts": ["why?", inside], "model": "m", "dimensions": beside},
            {"vectors": [[0.1, 0.2]], "usage": answer, "beside": out},
        ),
        "choices": (
            {"messages": [*tools, parts], "tools": beside},
            {"choices": [{"index": 0, "message": assistant, "finish_reason": "stop"}], "beside": out},
        ),
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", ["messages", "documents", "vectors", "choices"])
def test_values_that_accompany_messages_are_in_the_trace(recorder: SpanRecorder, shape: str, kind: str) -> None:
    """Values beside and inside messages, documents and vectors are still in the mapped trace."""
    given = {place: Planted(place) for place in ("beside", "inside", "out", "answer")}
    arguments, result = shapes(**{place: planted.values for place, planted in given.items()})[shape]
    KINDS[kind](lambda **_: result)(**arguments)
    assert missing(given, trace_text(recorder)) == {}


class Model(enum.Enum):
    """A model name that is not a text."""

    SMALL = "planted-member"


VALUES: dict[str, tuple[Callable[[Any], None], str]] = {
    "a model of no text": (lambda span: span.set_model(Model.SMALL), "Model.SMALL"),
    "a count of any name": (lambda span: span.set_token_usage(planted=70_004), '"planted": 70004'),
    "a cost of any name": (lambda span: span.set_cost(total=Decimal("0.70007"), image=0.70006), '"image": 0.70006'),
    "a decimal cost": (lambda span: span.set_cost(total=Decimal("0.70007")), "0.70007"),
    "an exception": (lambda span: span.set_error(KeyError("planted-key")), "planted-key"),
    "an error of no text": (lambda span: span.set_error({"code": "planted-code"}), "planted-code"),
}


@pytest.mark.parametrize(("kind", "setter"), list(product(KINDS, VALUES)))
def test_unusual_values_of_setters_are_in_the_trace(recorder: SpanRecorder, kind: str, setter: str) -> None:
    """Unusual models, counts, costs and errors given to setters of every kind of block are in the trace."""
    write, text = VALUES[setter]
    with KINDS[kind]("block") as span:
        write(span)
    assert text in trace_text(recorder)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("use", ["decorator", "block"])
def test_declared_values_are_in_the_trace(recorder: SpanRecorder, kind: str, use: str) -> None:
    """Name, session, user, tags and metadata of every type, from a decorator or a block, are in the trace."""
    planted = Planted(kind)
    declared: dict[str, Any] = {
        "name": "planted-name",
        "session_id": "planted-session",
        "user_id": "planted-user",
        "tags": ["planted-tag"],
        "metadata": planted.values,
    }
    if use == "decorator":
        KINDS[kind](**declared)(lambda: 1)()
    else:
        with KINDS[kind](**declared):
            pass
    text = trace_text(recorder)
    assert [each for each in ("name", "session", "user", "tag") if f"planted-{each}" not in text] == []
    assert planted.missing_in(json.dumps(map_trace(recorder.spans)["metadata"])) == []


def test_items_that_reduce_has_not_read_have_a_marker(recorder: SpanRecorder) -> None:
    """Items beyond the bound of `reduce` are counted in the metadata."""

    @pp.tool(reduce=len)
    def numbers() -> Iterator[int]:
        yield from range(10_002)

    list(numbers())
    (span,) = map_trace(recorder.spans)["spans"]
    assert (span["output"], span["metadata"]["output_cut"]) == (10_000, "…[cut: 2 more items]")


def test_arguments_of_the_same_name_are_both_there(recorder: SpanRecorder) -> None:
    """A keyword argument with the name of a positional-only parameter or of `*args` is recorded as well."""

    @pp.tool
    def work(one: str, /, *args: str, **kwargs: str) -> None:
        """Do nothing."""

    work("first", "second", one="third", args="fourth")
    assert recorder.input() == {"one": "first", "args": ["second"], "kwargs": {"one": "third", "args": "fourth"}}
