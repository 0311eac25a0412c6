"""Conservation: every value that decorated code receives or returns is in the trace, or a marker in its place.

Values of every type are planted at every place, each with its own text or numbers, and are searched for on the span of
the decorator and in the mapped trace.
"""

from __future__ import annotations

import asyncio
import enum
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Generator, Iterator
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


def span_text(recorder: SpanRecorder) -> str:
    """Return all attributes of the finished spans as JSON text."""
    attributes = [dict(span.attributes or {}) for span in recorder.spans]
    texts = [json.loads(v) if isinstance(v, str) and v[:1] in '{["' else v for a in attributes for v in a.values()]
    return json.dumps(texts, default=list)


def trace_text(recorder: SpanRecorder) -> str:
    """Return the mapped trace of the finished spans as JSON text."""
    return json.dumps(map_trace(recorder.spans))


def run_form(form: str, decorate: Callable[..., Any], given: dict[str, Planted]) -> None:
    """Call a decorated function of this form, with each `Planted` in the place of its name."""
    positional, by_keyword = given["positional"].values, given["keyword"].values
    rest, words, result = given["rest"].values, given["words"].values, given["result"].values
    default = given["default"].values
    first, second = given["first"].values, given["second"].values

    if form == "function":

        @decorate
        def work(one: Any, *args: Any, two: Any, three: Any = default, **kwargs: Any) -> Any:
            return result

        work(positional, rest, two=by_keyword, other=words)
    elif form == "coroutine":

        @decorate
        async def later(one: Any, *args: Any, two: Any, three: Any = default, **kwargs: Any) -> Any:
            return result

        asyncio.run(later(positional, rest, two=by_keyword, other=words))
    elif form == "generator":

        @decorate
        def items(one: Any, *args: Any, two: Any, three: Any = default, **kwargs: Any) -> Generator[Any, Any, Any]:
            yield first
            yield second
            return result

        list(items(positional, rest, two=by_keyword, other=words))
    elif form == "async generator":

        @decorate
        async def items_later(
            one: Any, *args: Any, two: Any, three: Any = default, **kwargs: Any
        ) -> AsyncIterator[Any]:
            yield first
            yield second
            yield result

        async def read() -> None:
            async for _ in items_later(positional, rest, two=by_keyword, other=words):
                pass

        asyncio.run(read())
    elif form == "method":

        class Desk:
            @decorate
            def work(self, one: Any, *args: Any, two: Any, three: Any = default, **kwargs: Any) -> Any:
                return result

        Desk().work(positional, rest, two=by_keyword, other=words)
    elif form == "class":

        @decorate
        class Office:
            @classmethod
            def work(cls, one: Any, *args: Any, two: Any, three: Any = default, **kwargs: Any) -> Any:
                return result

            @staticmethod
            def rest() -> None:
                """Take and return nothing."""

        Office.work(positional, rest, two=by_keyword, other=words)
        Office.rest()
    elif form == "single argument":

        @decorate
        def think(one: Any) -> Any:
            return result

        think({"p": positional, "k": by_keyword, "r": rest, "w": words, "d": default})
    else:
        with decorate("block", input={"p": positional, "k": by_keyword, "d": default}) as span:
            span.set_metadata({"r": rest, "w": words})
            span.set_output(result)


FORMS = ["function", "coroutine", "generator", "async generator", "method", "class", "single argument", "block"]
YIELDED = {"generator", "async generator"}


def planted_for(form: str) -> dict[str, Planted]:
    """Return the planted values, by place."""
    places = ["positional", "keyword", "rest", "words", "default", "result", "first", "second"]
    return {place: Planted(place) for place in places}


def missing(form: str, given: dict[str, Planted], text: str) -> dict[str, list[str]]:
    """Return the planted values that are not in the text, by place."""
    places = {name: one for name, one in given.items() if form in YIELDED or name not in ("first", "second")}
    return {name: lost for name, one in places.items() if (lost := one.missing_in(text))}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_planted_values_are_on_the_span(recorder: SpanRecorder, form: str, kind: str) -> None:
    """Arguments, defaults, results, yields and return values of generators, of every type, are on the span."""
    given = planted_for(form)
    run_form(form, KINDS[kind], given)
    assert missing(form, given, span_text(recorder)) == {}


@pytest.mark.parametrize(("form", "kind"), list(product(FORMS, KINDS)))
def test_planted_values_are_in_the_trace(recorder: SpanRecorder, form: str, kind: str) -> None:
    """Arguments, defaults, results, yields and return values of generators, of every type, are in the mapped trace."""
    given = planted_for(form)
    run_form(form, KINDS[kind], given)
    assert missing(form, given, trace_text(recorder)) == {}


def converse(decorate: Callable[..., Any], beside: Planted, inside: Planted, out: Planted, answer: Planted) -> None:
    """Call a function of messages, with planted values beside and inside them."""

    @decorate
    def work(messages: list[Any], customer: Any) -> Any:
        return {"messages": [{"role": "assistant", "content": "yes", "more": answer.values}], "beside": out.values}

    work([{"role": "user", "content": "why?", "more": inside.values}], beside.values)


def retrieve(decorate: Callable[..., Any], beside: Planted, inside: Planted, out: Planted, answer: Planted) -> None:
    """Call a search: a query with settings, and documents with more than their text."""

    @decorate
    def work(query: Any, top_k: int, filters: Any) -> Any:
        document = {"text": "t", "title": "a", "metadata": {"m": 1}, "score": 0.5, "more": answer.values}
        return {"documents": [document], "total": out.values}

    work({"text": "why?", "more": inside.values}, 3, beside.values)


def embed(decorate: Callable[..., Any], beside: Planted, inside: Planted, out: Planted, answer: Planted) -> None:
    """Call an embedding: texts with settings, and vectors with usage."""

    @decorate
    def work(texts: Any, model: str, dimensions: Any) -> Any:
        return {"vectors": [[0.1, 0.2]], "usage": answer.values, "beside": out.values}

    work(["why?", inside.values], "m", beside.values)


def answer_as_openai(
    decorate: Callable[..., Any], beside: Planted, inside: Planted, out: Planted, answer: Planted
) -> None:
    """Call a function that returns an answer in the form of OpenAI's chat completions."""

    @decorate
    def work(messages: list[Any], tools: Any, **parameters: Any) -> Any:
        message = {"role": "assistant", "content": "yes", "more": answer.values}
        return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "beside": out.values}

    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [{"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "content": "r"}]
    work(
        [*messages, {"role": "user", "content": [{"type": "text", "text": "why?", "more": inside.values}]}],
        beside.values,
    )


SHAPES = {"converse": converse, "retrieve": retrieve, "embed": embed, "answer_as_openai": answer_as_openai}
PLACES = ("beside", "inside", "out", "answer")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_values_that_accompany_messages_are_on_the_span(recorder: SpanRecorder, shape: str, kind: str) -> None:
    """Arguments and results with messages, documents or vectors are complete on the span."""
    given = {place: Planted(place) for place in PLACES}
    SHAPES[shape](KINDS[kind], **given)
    assert missing(shape, given, span_text(recorder)) == {}


@pytest.mark.parametrize(("shape", "kind", "place"), list(product(SHAPES, KINDS, PLACES)))
def test_values_that_accompany_messages_are_in_the_trace(
    recorder: SpanRecorder, shape: str, kind: str, place: str
) -> None:
    """Values beside and inside messages, documents and vectors are still in the mapped trace."""
    given = {each: Planted(each) for each in PLACES}
    SHAPES[shape](KINDS[kind], **given)
    assert given[place].missing_in(trace_text(recorder)) == []


Setter = Callable[[Any, Planted], None]
SETTERS: dict[str, Setter] = {
    "set_input": lambda span, planted: span.set_input(planted.values),
    "set_output": lambda span, planted: span.set_output(planted.values),
    "input =": lambda span, planted: setattr(span, "input", planted.values),
    "output =": lambda span, planted: setattr(span, "output", planted.values),
    "set_metadata": lambda span, planted: span.set_metadata(planted.values),
    "set_model_parameters": lambda span, planted: span.set_model_parameters(planted.values),
}


@pytest.mark.parametrize(("kind", "setter"), list(product(KINDS, SETTERS)))
def test_values_of_setters_are_in_the_trace(recorder: SpanRecorder, kind: str, setter: str) -> None:
    """Values of every type given to a setter, in a block of every kind, are on the span and in the trace."""
    planted = Planted(kind)
    with KINDS[kind]("block") as span:
        SETTERS[setter](span, planted)
    assert planted.missing_in(span_text(recorder)) == []
    assert planted.missing_in(trace_text(recorder)) == []


class Model(enum.Enum):
    """A model name that is not a text."""

    SMALL = "planted-member"


VALUES: dict[str, tuple[Setter, tuple[str, ...]]] = {
    "set_model": (lambda span, _: span.set_model("planted-model"), ("planted-model",)),
    "set_model of no text": (lambda span, _: span.set_model(Model.SMALL), ("Model.SMALL",)),
    "set_token_usage": (
        lambda span, _: span.set_token_usage(prompt_tokens=70_001, completion_tokens=70_002, cache_read_tokens=7_003),
        ("70001", "70002", "7003"),
    ),
    "set_token_usage of any name": (lambda span, _: span.set_token_usage(planted=70_004), ('"planted": 70004',)),
    "set_cost": (lambda span, _: span.set_cost(total=0.70005, image=0.70006), ("0.70005", '"image": 0.70006')),
    "set_cost of a decimal": (lambda span, _: span.set_cost(total=Decimal("0.70007")), ("0.70007",)),
    "set_error": (lambda span, _: span.set_error("planted-error"), ("planted-error", "ERROR")),
    "set_error of an exception": (lambda span, _: span.set_error(KeyError("planted-key")), ("KeyError", "planted-key")),
    "set_error of no text": (lambda span, _: span.set_error({"code": "planted-code"}), ("planted-code", "ERROR")),
    "set_completion_start_time": (
        lambda span, _: span.set_completion_start_time(datetime.now(UTC)),
        ('"completion_start_time": "',),
    ),
}


@pytest.mark.parametrize(("kind", "setter"), list(product(KINDS, VALUES)))
def test_single_values_of_setters_are_in_the_trace(recorder: SpanRecorder, kind: str, setter: str) -> None:
    """Models, counts, costs, errors and times given to setters of every kind of block are in the trace."""
    write, texts = VALUES[setter]
    with KINDS[kind]("block") as span:
        write(span, Planted(kind))
    text = trace_text(recorder)
    assert [each for each in texts if each not in text] == []


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


def test_omitted_items_have_a_marker(recorder: SpanRecorder) -> None:
    """Cut text, missing items and items that `reduce` has not read are replaced by a marker with their number."""
    with pp.tool("long") as span:
        span.set_output("x" * 300_000)

    @pp.llm
    def words() -> Iterator[str]:
        yield "y" * 150_000
        yield "z" * 150_000

    @pp.tool(reduce=len)
    def numbers() -> Iterator[int]:
        yield from range(10_002)

    list(words())
    list(numbers())
    spans = {span["name"]: span for each in recorder.spans for span in map_trace([each])["spans"]}
    assert "cut" in spans["long"]["output"][-60:]
    assert "cut 100000 more characters" in json.dumps(spans["words"]["output"])
    assert (spans["numbers"]["output"], spans["numbers"]["metadata"]["output_cut"]) == (10_000, "…[cut: 2 more items]")


def test_arguments_of_the_same_name_are_both_there(recorder: SpanRecorder) -> None:
    """A keyword argument with the name of a positional-only parameter or of `*args` is recorded as well."""

    @pp.tool
    def work(one: str, /, *args: str, **kwargs: str) -> None:
        """Do nothing."""

    work("first", "second", one="third", args="fourth")
    assert recorder.input() == {"one": "first", "args": ["second"], "kwargs": {"one": "third", "args": "fourth"}}
