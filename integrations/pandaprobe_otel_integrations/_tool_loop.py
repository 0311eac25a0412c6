"""Automatic tool use: one call of the app becomes several model calls with function calls between.

An agent span surrounds them all. It has the first question and the last answer. Each model call and each function call
is a span below it.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Final

from opentelemetry.context import Context, attach, get_current, get_value, set_value
from opentelemetry.trace import INVALID_SPAN, Span, set_span_in_context

from pandaprobe_otel_integrations._json import encoded, string
from pandaprobe_otel_integrations._spans import is_taken, record_ended, restore, tool

from . import _names as names
from ._endpoint import Attributes, Body, Endpoint
from ._guard import guarded
from ._model_call import ModelCall, Recorder
from ._patching import OriginalCall

_LOOP_KEY: Final = "pandaprobe-tool-loop"


class _Running:
    """Makes a context current inside the block, records its exceptions, passes them on, and ends the span."""

    __slots__ = ("_context", "_end", "_raised", "_token")

    def __init__(self, context: Context, raised: Callable[[BaseException], None], end: Callable[[], None]) -> None:
        self._context = context
        self._raised = raised
        self._end = end

    def __enter__(self) -> None:
        self._token = attach(self._context)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._raised(error)
        restore(self._token)
        self._end()


class ToolLoop:
    """The span around model calls and functions."""

    def __init__(self, recorder: Recorder, model: Any) -> None:
        name = string(model)
        self._with_content = recorder.with_content
        self._asked = False
        title = f"invoke_agent {name}" if name else "invoke_agent"
        self.span = recorder.start(title, {"gen_ai.operation.name": "invoke_agent"})
        self.context = set_value(_LOOP_KEY, self, set_span_in_context(self.span))

    def asked(self, hop: Span) -> None:
        """Record a model call's question. The first question is also the question of the loop."""
        if not self._asked:
            self._asked = True
            self._take(hop, names.INPUT_MESSAGES, names.SYSTEM_INSTRUCTIONS)

    def answered(self, hop: Span) -> None:
        """Record a model call's answer. The last answer is also the answer of the loop."""
        self._take(hop, names.OUTPUT_MESSAGES)

    def run(self, call: Callable[[], Any]) -> Any:
        """Run a part of the loop with its span as the current one. The span ends with it."""
        with _Running(self.context, self.raised, self.end):
            return call()

    async def run_async(self, call: Callable[[], Any]) -> Any:
        """Asynchronous counterpart of `run`."""
        with _Running(self.context, self.raised, self.end):
            return await call()

    def raised(self, error: BaseException) -> None:
        """Record that the loop ended with an exception."""
        guarded(record_ended, self.span, error, with_content=self._with_content)

    def end(self) -> None:
        """End the loop."""
        self.span.end()

    def _take(self, hop: Span, *wanted: str) -> None:
        if not self.span.is_recording():
            return  # the app closed its stream, and the client then closed those below it
        found: Any = getattr(hop, "attributes", None) or {}
        self.span.set_attributes({name: found[name] for name in wanted if name in found})


class AdoptedLoop(ToolLoop):
    """A loop whose span the client makes and ends itself; only its content is added."""

    def __init__(self, recorder: Recorder, span: Callable[[], Span | None]) -> None:
        self._with_content = recorder.with_content
        self._asked = False
        self._find = span
        self.context = set_value(_LOOP_KEY, self)

    @property
    def span(self) -> Span:  # type: ignore[override]
        """The client's span; a span that records nothing if there is none."""
        return self._find() or INVALID_SPAN

    def raised(self, error: BaseException) -> None:
        """Do nothing: the client records the exception itself."""

    def end(self) -> None:
        """Do nothing: the client ends the span."""


class Hop(ModelCall):
    """A model call that belongs to a loop."""

    __slots__ = ("_loop",)

    def __init__(
        self, loop: ToolLoop, recorder: Recorder, endpoint: Endpoint, body: Body, place: Attributes, context: Context
    ) -> None:
        super().__init__(recorder, endpoint, body, place, context)
        self._loop = loop
        guarded(loop.asked, self.span)

    def answered(self, body: Body) -> None:
        """Record the answer as for any model call, and pass it to the loop."""
        super().answered(body)
        self._loop.answered(self.span)


def begin_hop(recorder: Recorder, endpoint: Endpoint, body: Body, place: Attributes, context: Context) -> ModelCall:
    """Return a model call, which may belong to a loop."""
    loop = loop_in(context) if context else None
    if loop is None:
        return ModelCall(recorder, endpoint, body, place, context)
    return Hop(loop, recorder, endpoint, body, place, context)


class ToolRun:
    """The span of one call of the app's function.

    `result_of` takes the function's result out of the object that the client makes of it.
    """

    def __init__(
        self,
        recorder: Recorder,
        name: str,
        given: Any,
        *,
        call_id: str | None = None,
        result_of: Callable[[Any], Any] | None = None,
    ) -> None:
        self._with_content = recorder.with_content
        self._result_of = result_of
        arguments: Any = dict(given) or "{}" if isinstance(given, Mapping) else given  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        asked = lambda: {names.TOOL_CALL_ARGUMENTS: arguments}  # noqa: E731
        self._span = recorder.start(f"execute_tool {name}", tool(name, call_id), asked)
        # Calls inside the function do not belong to the loop, even if it calls a model itself.
        self._context = set_value(_LOOP_KEY, None, set_span_in_context(self._span))

    def run(self, call: Callable[[], Any]) -> Any:
        """Call the function with its span as the current one. The span ends with it."""
        with _Running(self._context, self._raised, self._span.end):
            result = call()
            guarded(self._record, result)
            return result

    async def run_async(self, call: Callable[[], Any]) -> Any:
        """Asynchronous counterpart of `run`."""
        with _Running(self._context, self._raised, self._span.end):
            result = await call()
            guarded(self._record, result)
            return result

    def _raised(self, error: BaseException) -> None:
        guarded(record_ended, self._span, error, with_content=self._with_content)

    def _record(self, result: Any) -> None:
        if self._with_content and self._span.is_recording():
            found = result if self._result_of is None else self._result_of(result)
            self._span.set_attribute(names.TOOL_CALL_RESULT, as_text(found))


def as_text(result: Any) -> str:
    """Return a function's result as the text of an attribute: text unchanged, anything else as JSON."""
    return result if isinstance(result, str) else encoded({"": [result]})[""][1:-1]


def loop_in(context: Context | None = None) -> ToolLoop | None:
    """Return the loop in progress in `context` (default: the current one)."""
    found = get_value(_LOOP_KEY, get_current() if context is None else context)
    return found if isinstance(found, ToolLoop) else None


def through(
    items: Any, open_loop: Callable[[], ToolLoop | None], is_last: Callable[[Any], bool] | None = None
) -> Iterator[Any]:
    """Yield the items of the client's generator. A loop that is left after its last item is complete.

    The span is current while the generator runs, but not in the code of the app that reads it. `open_loop` and the
    generator are called when the app starts to iterate.
    """
    loop, item = open_loop(), None
    if loop is None:
        yield from items
        return
    try:
        while True:
            token = attach(loop.context)
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                restore(token)
            yield item
    except BaseException as error:
        if not _is_complete(error, item, is_last):
            loop.raised(error)
        raise
    finally:
        items.close()
        loop.end()


def _is_complete(error: BaseException, item: Any, is_last: Callable[[Any], bool] | None) -> bool:
    return isinstance(error, GeneratorExit) and is_last is not None and bool(guarded(is_last, item))


async def through_async(
    items: Any, open_loop: Callable[[], ToolLoop | None], is_last: Callable[[Any], bool] | None = None
) -> AsyncIterator[Any]:
    """Asynchronous counterpart of `through`."""
    loop, item = open_loop(), None
    try:
        while True:
            token = attach(loop.context) if loop is not None else None
            try:
                item = await anext(items)
            except StopAsyncIteration:
                return
            finally:
                if token is not None:
                    restore(token)
            yield item
    except BaseException as error:
        if loop is not None and not _is_complete(error, item, is_last):
            loop.raised(error)
        raise
    finally:
        await items.aclose()
        if loop is not None:
            loop.end()


# -- hooks on a client's own loop --------------------------------------------------------------------------------------


class LoopHooks(ABC):
    """Wrappers of functions. `gate` decides per loop; if it is closed, they only pass calls on."""

    is_last: Callable[[Any], bool] | None = None
    """Returns whether an item of the generator is the last one, at which the client leaves it."""

    def __init__(self, recorder: Recorder, gate: Callable[[Any], bool]) -> None:
        self.recorder = recorder
        self._gate = gate

    @abstractmethod
    def client(self, original: OriginalCall) -> Any:
        """Return the client of a loop; None if the call is no loop."""

    @abstractmethod
    def begin(self, original: OriginalCall) -> ToolLoop:
        """Begin the loop."""

    @abstractmethod
    def tool(self, loop: ToolLoop, original: OriginalCall) -> ToolRun | None:
        """Begin one call of the app's function."""

    def turns(self, original: OriginalCall) -> Any:
        """Wrap a function that returns a generator of turns, asynchronous or not."""
        return self.through(original(), original)

    def through(self, items: Any, original: OriginalCall) -> Any:
        """Return the items of a generator, whose loop begins when the app starts to iterate."""
        read = through_async if hasattr(items, "__anext__") else through
        return read(items, lambda: guarded(self.open, original), self.is_last)

    def function(self, original: OriginalCall) -> Any:
        """Wrap one call of the app's function; the client awaits an asynchronous one."""
        loop = loop_in()
        tool = guarded(self.tool, loop, original) if loop is not None else None
        if tool is None:
            return original()
        run = tool.run_async if inspect.iscoroutinefunction(original.function) else tool.run
        return run(original)

    def is_wanted(self, original: OriginalCall) -> bool:
        """Return whether to record a loop: it is not inside another one, and nobody else records it."""
        client, context = self.client(original), get_current()
        return client is not None and loop_in(context) is None and not is_taken(context) and self._gate(client)

    def open(self, original: OriginalCall) -> ToolLoop | None:
        """Begin the loop; None if it is not to be recorded."""
        return self.begin(original) if self.is_wanted(original) else None
