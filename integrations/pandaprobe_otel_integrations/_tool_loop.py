"""Automatic tool use: one call of the app becomes several model calls with function calls between.

An agent span surrounds them all. It has the first question and the last answer. Each model call and each function call
is a span below it.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Final

from opentelemetry.context import Context, get_current, get_value, set_value
from opentelemetry.trace import INVALID_SPAN, Span, set_span_in_context

from pandaprobe_otel.capture.wrapping import ContextScope, Scope
from pandaprobe_otel_integrations._json import Content, string, to_json
from pandaprobe_otel_integrations._span_scope import SpanScope, await_inside, call_inside, read_opened, run_opened
from pandaprobe_otel_integrations._spans import is_taken, tool

from . import _names as names
from ._endpoint import Attributes, Body, Endpoint
from ._guard import guarded
from ._model_call import ModelCall, Recorder
from ._patching import OriginalCall

_LOOP_KEY: Final = "pandaprobe-tool-loop"


class ToolLoop(SpanScope):
    """The span around model calls and functions. A loop that is left after its last item is complete."""

    _is_last: Callable[[Any], bool] | None = None
    _item: Any = None
    _is_asked = False

    def __init__(self, recorder: Recorder, model: Any, is_last: Callable[[Any], bool] | None = None) -> None:
        """Begin a loop. `is_last` returns whether the client leaves its generator at an item."""
        self._is_last = is_last
        name = string(model)
        title = f"invoke_agent {name}" if name else "invoke_agent"
        span = recorder.start(title, {"gen_ai.operation.name": "invoke_agent"})
        super().__init__(recorder, span, context=set_value(_LOOP_KEY, self, set_span_in_context(span)))

    def asked(self, hop: Span) -> None:
        """Record a model call's question. The first question is also the question of the loop."""
        if not self._is_asked:
            self._is_asked = True
            self._take(hop, names.INPUT_MESSAGES, names.SYSTEM_INSTRUCTIONS)

    def answered(self, hop: Span) -> None:
        """Record a model call's answer. The last answer is also the answer of the loop."""
        self._take(hop, names.OUTPUT_MESSAGES)

    def produced(self, item: Any, /) -> None:
        """Take an item of the client's generator."""
        self._item = item

    def raised(self, error: BaseException, /) -> None:
        """End the loop with an exception, or complete if the generator was left after its last item."""
        is_last = self._is_last if isinstance(error, GeneratorExit) else None
        if is_last is not None and guarded(is_last, self._item):
            self.returned(None)
        else:
            super().raised(error)

    def _take(self, hop: Span, *wanted: str) -> None:
        if not self.span.is_recording():
            return  # the app closed its stream, and the client then closed those below it
        found: Any = getattr(hop, "attributes", None) or {}
        self.span.set_attributes({name: found[name] for name in wanted if name in found})


class AdoptedLoop(ToolLoop):
    """A loop whose span the client makes and ends itself; only its content is added."""

    def __init__(self, span: Callable[[], Span | None]) -> None:
        ContextScope.__init__(self, set_value(_LOOP_KEY, self))
        self._find = span

    @property
    def span(self) -> Span:  # type: ignore[override]
        """The client's span; a span that records nothing if there is none."""
        return self._find() or INVALID_SPAN

    def returned(self, value: Any, /) -> None:
        """Do nothing: the client ends the span."""

    def raised(self, error: BaseException, /) -> None:
        """Do nothing: the client records the exception itself."""

    def interrupted(self) -> None:
        """Restore the previous context."""
        ContextScope.interrupted(self)


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


class ToolRun(SpanScope):
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
        result_of: Callable[[Any], Any] = lambda made: made,
    ) -> None:
        span = recorder.start(f"execute_tool {name}", tool(name, call_id), lambda: arguments(given))
        # Calls inside the function do not belong to the loop, even if it calls a model itself.
        context = set_value(_LOOP_KEY, None, set_span_in_context(span))
        super().__init__(recorder, span, lambda made: result(result_of(made)), context=context)


def arguments(given: Any) -> Content:
    """Return the attribute with the arguments of a function, which may be empty."""
    return {names.TOOL_CALL_ARGUMENTS: dict(given) or "{}" if isinstance(given, Mapping) else given}  # pyright: ignore[reportUnknownArgumentType]


def result(found: Any) -> Content:
    """Return the attribute with a function's result: text unchanged, anything else as JSON."""
    return {names.TOOL_CALL_RESULT: found if isinstance(found, str) else to_json(found)}


def loop_in(context: Context | None = None) -> ToolLoop | None:
    """Return the loop in progress in `context` (default: the current one)."""
    found = get_value(_LOOP_KEY, get_current() if context is None else context)
    return found if isinstance(found, ToolLoop) else None


# -- hooks on a client's own loop --------------------------------------------------------------------------------------


class LoopHooks(ABC):
    """Wrappers of functions. `recorder.gate` decides per loop; if it is closed, they only pass calls on."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    @abstractmethod
    def client(self, original: OriginalCall) -> Any:
        """Return the client of a loop; None if the call is no loop."""

    @abstractmethod
    def begin(self, original: OriginalCall) -> ToolLoop:
        """Begin the loop."""

    @abstractmethod
    def tool(self, loop: ToolLoop, original: OriginalCall) -> Scope | None:
        """Begin one call of the app's function."""

    def turns(self, original: OriginalCall) -> Any:
        """Wrap a function that returns a generator of turns, asynchronous or not."""
        return self.through(original(), original)

    async def turns_async(self, original: OriginalCall) -> Any:
        """Wrap a coroutine function that returns a generator of turns."""
        return self.through(await original(), original)

    def run(self, original: OriginalCall) -> Any:
        """Wrap a function that returns after the last turn. The loop of a coroutine begins when it is awaited."""
        if not guarded(self.is_wanted, original):
            return original()
        return run_opened(lambda: guarded(self.open, original), original)

    def through(self, items: Any, original: OriginalCall) -> Any:
        """Return the items of a generator, whose loop begins when the app starts to iterate.

        The span is current while the generator runs, but not in the code of the app that reads it.
        """
        if not guarded(self.is_wanted, original):
            return items
        return read_opened(lambda: guarded(self.open, original), items)

    def function(self, original: OriginalCall) -> Any:
        """Wrap one call of the app's function; the client awaits an asynchronous one."""
        loop = loop_in()
        scope = guarded(self.tool, loop, original) if loop is not None else None
        if scope is None:
            return original()
        return (await_inside if inspect.iscoroutinefunction(original.function) else call_inside)(scope, original)

    def is_wanted(self, original: OriginalCall) -> bool:
        """Return whether to record a loop: it is not inside another one, and nobody else records it."""
        client, context = self.client(original), get_current()
        return client is not None and loop_in(context) is None and not is_taken(context) and self.recorder.gate(client)

    def open(self, original: OriginalCall) -> ToolLoop | None:
        """Begin the loop; None if it is not to be recorded."""
        return self.begin(original) if self.is_wanted(original) else None
