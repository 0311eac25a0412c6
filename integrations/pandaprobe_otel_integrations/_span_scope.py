"""One span around a framework's call, for any kind of function, for use with the decorators' `wrap`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from inspect import iscoroutinefunction, isgenerator
from typing import Any

from opentelemetry.context import Context, get_current
from opentelemetry.trace import Span, set_span_in_context

from pandaprobe_otel.capture.wrapping import ContextScope, Scope, wrap
from pandaprobe_otel_integrations._spans import record_raised, without_llm_span

from ._guard import guarded
from ._json import Content
from ._model_call import Recorder
from ._patching import OriginalCall


class SpanScope(ContextScope):
    """One span around code that may run in steps, such as a stream."""

    def __init__(
        self,
        recorder: Recorder,
        span: Span,
        answer: Callable[[Any], Content] | None = None,
        *,
        context: Context | None = None,
    ) -> None:
        """Set what is recorded of the result, and the context inside; by default the current one with the span."""
        super().__init__(context or set_span_in_context(span, without_llm_span(get_current())))
        self.recorder = recorder
        self.span = span
        self._answer = answer

    def returned(self, value: Any, /) -> None:
        """Record the end of the code with its result, None after the last item of a stream."""
        guarded(self._record, value)
        guarded(self.span.end)

    def raised(self, error: BaseException, /) -> None:
        """End the span with the exception, which the app gets too."""
        guarded(self._record_error, error)
        guarded(self.span.end)

    def interrupted(self) -> None:
        """Restore the previous context and end the span, unless that was done."""
        super().interrupted()
        guarded(self._end)

    def write(self, content: Callable[[], Content]) -> None:
        """Write content on the span, if it is recorded."""
        self.recorder.write(self.span, content)

    def _record(self, value: Any) -> None:
        if (answer := self._answer) is not None:
            self.write(lambda: answer(value))

    def _end(self) -> None:
        if self.span.is_recording():
            self.span.end()

    def _record_error(self, error: BaseException) -> None:
        record_raised(self.span, error, with_content=self.recorder.with_content)


def call_inside(scope: Scope, call: Callable[[], Any]) -> Any:
    """Call a plain function inside the scope. If it returns a generator, the scope lasts until that is read."""
    try:
        scope.resume()
        try:
            result = call()
        except BaseException as error:
            scope.pause()
            scope.raised(error)
            raise
        scope.pause()
        if isgenerator(result):
            return read_inside(scope, result)
        scope.returned(result)
        return result
    except BaseException:
        scope.interrupted()
        raise


def read_inside(scope: Scope, stream: Any) -> Any:
    """Return a sync or async generator that yields the same items, each made inside the scope."""
    return read_opened(lambda: scope, stream)


def read_opened(open_scope: Callable[[], Scope | None], stream: Any) -> Any:
    """Return a generator as `read_inside` does, inside a scope that is made when the app starts to iterate."""
    steps: Any = _asteps if hasattr(stream, "__anext__") else _steps
    return wrap(steps, lambda args, kwargs: open_scope())(stream)


def await_inside(scope: Scope, call: Callable[[], Any]) -> Any:
    """Return the awaitable of a coroutine function that runs inside the scope."""
    return wrap(_awaited, lambda args, kwargs: scope)(call)


def run_opened(open_scope: Callable[[], Scope | None], call: OriginalCall) -> Any:
    """Make a call of a function or coroutine function, inside a scope that is made when its code begins."""
    run: Any = _awaited if iscoroutinefunction(call.function) else _called
    return wrap(run, lambda args, kwargs: open_scope())(call)


def _called(call: Callable[[], Any]) -> Any:
    return call()


async def _awaited(call: Callable[[], Any]) -> Any:
    return await call()


def _steps(stream: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    return (yield from stream)


async def _asteps(stream: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any]:
    try:
        async for item in stream:
            yield item
    finally:
        await stream.aclose()
