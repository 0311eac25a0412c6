"""Decorated functions, coroutines and methods: one span per call, and no change for the caller."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry.trace import StatusCode

import pandaprobe_otel as pp
from pandaprobe_otel.process.guard import failures
from span_recorder import SpanRecorder


def test_function_without_parentheses_makes_one_span(recorder: SpanRecorder) -> None:
    """A bare decorator names the span after the function, and records its argument and result."""

    @pp.agent
    def answer(question: str) -> str:
        return question.upper()

    assert answer("why?") == "WHY?"
    assert recorder.names == ["answer"]
    assert recorder.input() == "why?"
    assert recorder.output() == "WHY?"


def test_function_with_options(recorder: SpanRecorder) -> None:
    """Options given in parentheses appear on the span."""

    @pp.span(name="look-up", kind="retriever", model="small", metadata={"shard": 3})
    def find(query: str) -> list[str]:
        return [query]

    find("x")
    attributes = recorder.attributes("look-up")
    assert attributes["pandaprobe.span.kind"] == "RETRIEVER"
    assert attributes["pandaprobe.model"] == "small"
    assert recorder.json("pandaprobe.span.metadata") == {"shard": 3}


def test_name_as_first_argument_of_a_decorator(recorder: SpanRecorder) -> None:
    """`@tool("name")` decorates as `@tool(name="name")` does."""

    @pp.tool("weather")
    def forecast(city: str) -> str:
        return f"sun in {city}"

    assert forecast("Oslo") == "sun in Oslo"
    assert recorder.names == ["weather"]


async def test_coroutine_function(recorder: SpanRecorder) -> None:
    """The span of a coroutine function lasts until it has returned."""

    @pp.agent
    async def answer(question: str) -> str:
        await asyncio.sleep(0.02)
        return question

    assert await answer("why?") == "why?"
    span = recorder.one("answer")
    assert span.end_time is not None
    assert span.start_time is not None
    assert span.end_time - span.start_time >= 15_000_000
    assert recorder.output() == "why?"


async def test_callable_object_with_async_call(recorder: SpanRecorder) -> None:
    """An object whose `__call__` is a coroutine function is awaited inside its span."""

    class Model:
        async def __call__(self, prompt: str) -> str:
            await asyncio.sleep(0)
            return prompt + "!"

    assert await pp.llm(Model())("hi") == "hi!"
    assert recorder.output("Model") == "hi!"


def test_calls_inside_calls_are_children(recorder: SpanRecorder) -> None:
    """A decorated function called by another is its child, and siblings stay siblings."""

    @pp.tool
    def first() -> int:
        return 1

    @pp.tool
    def second() -> int:
        return 2

    @pp.agent
    def plan() -> int:
        return first() + second()

    assert plan() == 3
    assert recorder.tree() == {"first": "plan", "second": "plan", "plan": None}


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


def test_class_decorator_covers_its_public_methods(recorder: SpanRecorder) -> None:
    """A decorated class stays the same class, and its public methods make spans named after class and method."""

    @pp.agent
    class Planner:
        def run(self, goal: str) -> str:
            return self._think(goal)

        def _think(self, goal: str) -> str:
            return goal[::-1]

        @classmethod
        async def plan(cls, goal: str) -> str:
            return goal

    assert isinstance(Planner(), Planner)
    assert Planner().run("abc") == "cba"
    assert asyncio.run(Planner.plan("abc")) == "abc"
    assert recorder.names == ["Planner.run", "Planner.plan"]
    assert recorder.input("Planner.run") == "abc"


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


async def test_exception_of_a_coroutine(recorder: SpanRecorder) -> None:
    """An exception of a coroutine is recorded under its qualified name."""

    class OutOfStock(Exception):
        pass

    error = OutOfStock("tea")

    @pp.tool
    async def order() -> None:
        raise error

    with pytest.raises(OutOfStock) as caught:
        await order()
    assert caught.value is error
    assert str(recorder.attributes()["error.type"]).endswith("OutOfStock")
    assert recorder.one().status.status_code is StatusCode.ERROR


async def test_cancellation_is_no_error(recorder: SpanRecorder) -> None:
    """A cancelled task's span has no error, and `pandaprobe.outcome` is "cancelled"."""
    started = asyncio.Event()

    @pp.agent
    async def wait() -> None:
        started.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(wait())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    span = recorder.one("wait")
    assert span.status.status_code is StatusCode.UNSET
    assert span.events == ()
    assert recorder.attributes()["pandaprobe.outcome"] == "cancelled"


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
    import contextvars

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


def test_sampled_out_call_makes_no_span_and_neither_do_its_children() -> None:
    """If the sampler drops a trace, neither the call nor the calls inside it make spans."""
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

    from span_recorder import recording

    @pp.tool
    def child() -> bool:
        from opentelemetry.trace import get_current_span

        return get_current_span().get_span_context().trace_flags.sampled

    @pp.agent
    def parent() -> bool:
        return child()

    with recording(ParentBased(ALWAYS_OFF)) as dropped:
        assert parent() is False
        assert pp.current_trace_id() is None
    assert dropped.spans == []


def test_nothing_is_encoded_for_a_span_that_is_not_recorded() -> None:
    """Arguments of a call that is sampled out are not read."""
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    from span_recorder import recording

    looked: list[str] = []

    class Shy:
        def __repr__(self) -> str:
            looked.append("repr")
            return "shy"

    @pp.chain
    def use(value: object) -> object:
        return value

    with recording(ALWAYS_OFF):
        use(Shy())
    assert looked == []


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
