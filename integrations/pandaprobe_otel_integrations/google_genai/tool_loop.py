"""Automatic function calling: one call of the app becomes several of the model, with the app's functions between.

The client calls functions only when the app has passed some, so only then there is a span around it all. It is an
agent's: it has the first question and the last answer. Each model call and each function is a span below it.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, cast

from opentelemetry.context import Context, attach, get_current, get_value, set_value
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import encoded
from pandaprobe_otel_integrations._context_slot import restore
from pandaprobe_otel_integrations._endpoint import Body
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._llm_span import is_taken
from pandaprobe_otel_integrations._model_call import ModelCall, Recorder
from pandaprobe_otel_integrations._shape import items, string

Wrapped = Callable[..., Any]
_LOOP_KEY: Final = "pandaprobe-google-genai-tool-loop"


class ToolLoopHooks:
    """Wrappers in wrapt's form. `gate` decides per call; closed, they only pass on."""

    def __init__(self, recorder: Recorder, gate: Callable[[Any], bool]) -> None:
        self._recorder = recorder
        self._gate = gate

    def generate(self, wrapped: Wrapped, models: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Around `Models.generate_content` and `Chat.send_message`."""
        loop = guarded(self._open, models, args, kwargs)
        return wrapped(*args, **kwargs) if loop is None else loop.run(lambda: wrapped(*args, **kwargs))

    async def generate_async(self, wrapped: Wrapped, models: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Around `AsyncModels.generate_content` and `AsyncChat.send_message`."""
        loop = guarded(self._open, models, args, kwargs)
        if loop is None:
            return await wrapped(*args, **kwargs)
        return await loop.run_async(lambda: wrapped(*args, **kwargs))

    def stream(self, wrapped: Wrapped, models: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Around the streaming twins, generators: nothing happens before they are iterated."""
        chunks = wrapped(*args, **kwargs)
        if not guarded(self._is_wanted, models, args, kwargs):
            return chunks
        return _through(chunks, lambda: guarded(self._open, models, args, kwargs))

    async def stream_async(self, wrapped: Wrapped, models: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Around the asynchronous ones, which return an asynchronous generator."""
        chunks = await wrapped(*args, **kwargs)
        if not guarded(self._is_wanted, models, args, kwargs):
            return chunks
        return _through_async(chunks, lambda: guarded(self._open, models, args, kwargs))

    def function(self, wrapped: Wrapped, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Around one call of a function of the app; the asynchronous one is awaited by the client."""
        span = guarded(self._open_function, args, kwargs)
        if span is None:
            return wrapped(*args, **kwargs)
        context = set_value(_LOOP_KEY, None, set_span_in_context(span))
        if inspect.iscoroutinefunction(wrapped):
            return self._awaited(span, context, lambda: wrapped(*args, **kwargs))
        return self._called(span, context, lambda: wrapped(*args, **kwargs))

    def _called(self, span: Span, context: Context, run: Callable[[], Any]) -> Any:
        token = attach(context)
        try:
            result = run()
        except BaseException as error:
            guarded(_fail, span, error, self._recorder.with_content)
            raise
        else:
            guarded(self._tell_result, span, result)
            return result
        finally:
            restore(token)
            span.end()

    async def _awaited(self, span: Span, context: Context, run: Callable[[], Any]) -> Any:
        token = attach(context)
        try:
            result = await run()
        except BaseException as error:
            guarded(_fail, span, error, self._recorder.with_content)
            raise
        else:
            guarded(self._tell_result, span, result)
            return result
        finally:
            restore(token)
            span.end()

    def _is_wanted(self, owner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        context = get_current()
        if _loop_in(context) is not None or is_taken(context) or not _has_functions(_config(owner, args, kwargs)):
            return False
        return self._gate(getattr(owner, "_modules", owner)._api_client)  # pyright: ignore[reportPrivateUsage]

    def _open(self, owner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ToolLoop | None:
        if not self._is_wanted(owner, args, kwargs):
            return None
        return ToolLoop(self._recorder, kwargs.get("model") or getattr(owner, "_model", None))

    def _open_function(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Span | None:
        if _loop_in(get_current()) is None:
            return None
        given = kwargs["args"] if "args" in kwargs else args[0]
        function = kwargs["function_to_invoke"] if "function_to_invoke" in kwargs else args[1]
        name = getattr(function, "__name__", type(function).__name__)
        span = self._recorder.tracer.start_span(
            f"execute_tool {name}",
            attributes={
                "gen_ai.operation.name": "execute_tool",
                names.TOOL_NAME: name,
                names.TOOL_TYPE: "function",
            },
        )
        if self._recorder.with_content and span.is_recording():
            span.set_attributes(encoded({names.TOOL_CALL_ARGUMENTS: dict(given) or "{}"}))
        return span

    def _tell_result(self, span: Span, result: Any) -> None:
        if self._recorder.with_content and span.is_recording():
            text = result if isinstance(result, str) else encoded({"": [result]})[""][1:-1]
            span.set_attribute(names.TOOL_CALL_RESULT, text)


class ToolLoop:
    """The span around model calls and functions."""

    def __init__(self, recorder: Recorder, model: Any) -> None:
        name = string(model)
        self._with_content = recorder.with_content
        self._asked = False
        self.span = recorder.tracer.start_span(
            f"invoke_agent {name}" if name else "invoke_agent",
            kind=SpanKind.INTERNAL,
            attributes={"gen_ai.operation.name": "invoke_agent"},
        )
        self.context = set_value(_LOOP_KEY, self, set_span_in_context(self.span))

    def asked(self, hop: Span) -> None:
        """A model call begins; the first one has the question."""
        if not self._asked:
            self._asked = True
            self._take(hop, names.INPUT_MESSAGES, names.SYSTEM_INSTRUCTIONS)

    def answered(self, hop: Span) -> None:
        """A model call was answered; the last one has the answer."""
        self._take(hop, names.OUTPUT_MESSAGES)

    def run(self, call: Callable[[], Any]) -> Any:
        """Run a part of the loop with the span as the current one, which ends with it."""
        token = attach(self.context)
        try:
            return call()
        except BaseException as error:
            self.raised(error)
            raise
        finally:
            restore(token)
            self.span.end()

    async def run_async(self, call: Callable[[], Any]) -> Any:
        """The asynchronous form."""
        token = attach(self.context)
        try:
            return await call()
        except BaseException as error:
            self.raised(error)
            raise
        finally:
            restore(token)
            self.span.end()

    def raised(self, error: BaseException) -> None:
        """The loop ended with an exception."""
        guarded(_fail, self.span, error, self._with_content)

    def _take(self, hop: Span, *wanted: str) -> None:
        if not self.span.is_recording():
            return  # the app closed its stream, and the client those below it one after the other
        found: Any = getattr(hop, "attributes", None) or {}
        self.span.set_attributes({name: found[name] for name in wanted if name in found})


class Hop(ModelCall):
    """A model call, which may be one of a loop."""

    __slots__ = ("_loop",)

    def __init__(self, recorder: Recorder, endpoint: Any, body: Body, place: Any, context: Context) -> None:
        super().__init__(recorder, endpoint, body, place, context)
        self._loop = _loop_in(context)
        if self._loop is not None:
            guarded(self._loop.asked, self.span)

    def answered(self, body: Body) -> None:
        """As any model call; the loop takes what it needs of the answer."""
        super().answered(body)
        if self._loop is not None:
            self._loop.answered(self.span)


def _loop_in(context: Context) -> ToolLoop | None:
    found = get_value(_LOOP_KEY, context)
    return found if isinstance(found, ToolLoop) else None


def _config(owner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The configuration of a call: a chat's own, unless the message has one. Models take keywords only."""
    given = kwargs.get("config") or (args[1] if len(args) > 1 else None)
    return given or getattr(owner, "_config", None)


def _has_functions(config: Any) -> bool:
    """Whether the client would call functions by itself."""
    automatic = _member(config, "automatic_function_calling")
    if _member(automatic, "disable"):
        return False
    return any(callable(tool) or hasattr(tool, "call_tool") for tool in items(_member(config, "tools")))


def _member(thing: Any, name: str) -> Any:
    return cast("Any", thing).get(name) if isinstance(thing, dict) else getattr(thing, name, None)


def _fail(span: Span, error: BaseException, with_content: bool) -> None:
    if isinstance(error, Exception):
        kind = type(error).__qualname__
        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR, str(error) if with_content else kind))


def _through(chunks: Any, open_loop: Callable[[], ToolLoop | None]) -> Iterator[Any]:
    """The chunks as the client's generator gives them; it runs with the span as the current one, the app does not."""
    loop = open_loop()
    if loop is None:
        yield from chunks
        return
    try:
        while True:
            token = attach(loop.context)
            try:
                chunk = next(chunks)
            except StopIteration:
                return
            finally:
                restore(token)
            yield chunk
    except Exception as error:
        loop.raised(error)
        raise
    finally:
        chunks.close()
        loop.span.end()


async def _through_async(chunks: Any, open_loop: Callable[[], ToolLoop | None]) -> AsyncIterator[Any]:
    """The asynchronous form."""
    loop = open_loop()
    try:
        while True:
            token = attach(loop.context) if loop is not None else None
            try:
                chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            finally:
                if token is not None:
                    restore(token)
            yield chunk
    except Exception as error:
        if loop is not None:
            loop.raised(error)
        raise
    finally:
        await chunks.aclose()
        if loop is not None:
            loop.span.end()
