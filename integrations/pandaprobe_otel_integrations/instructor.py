"""OpenTelemetry spans for Instructor: one around all attempts at getting an object of the app's class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import isasyncgen, iscoroutinefunction, isgenerator
from types import ModuleType
from typing import Any, Final

from opentelemetry.trace import Span

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._json import Content, items, objects, string, to_json
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._openai_protocol.chat_messages import input_message
from pandaprobe_otel_integrations._other_members import RESPONSE, rest, told
from pandaprobe_otel_integrations._patching import OriginalCall, Undoable, patch
from pandaprobe_otel_integrations._span_scope import SpanScope, await_inside, call_inside, read_inside
from pandaprobe_otel_integrations._streams.body import MAX_ITEMS

__all__ = ["InstructorInstrumentor"]

_REQUESTS: Final = ("messages", "input", "contents", "chat_history", "message", "system")
"""Members of a request with the conversation, by the client's protocol."""
_MAX_FAILURES: Final = 100
"""Largest number of failed attempts that are described."""
_PARTIAL: Final = "PartialBase"
"""A base of the classes whose streams yield one growing object; other streams yield several objects."""


class Extraction(SpanScope):
    """All attempts of one call. The client makes the span of each model call, inside this one."""

    def __init__(self, recorder: Recorder, span: Span, about: Mapping[str, Any], *, is_growing: bool) -> None:
        super().__init__(recorder, span)
        self._about = about
        self._is_growing = is_growing
        self._attempts = 0
        self._failures: list[dict[str, Any]] = []
        self._made: list[Any] = []

    def listen(self, hooks: Any) -> None:
        """Count the attempts, and note those whose answers do not fit the class. `hooks` are those of this call."""
        hooks.on("completion:kwargs", self._begun)
        hooks.on("parse:error", self._failed)

    def _begun(self, *_: Any, **__: Any) -> None:
        self._attempts += 1

    def _failed(self, error: Exception, **_: Any) -> None:
        if len(self._failures) < _MAX_FAILURES:
            self._failures.append({"attempt": self._attempts, "error": str(error)})

    def produced(self, item: Any, /) -> None:
        """Keep an object of a stream, or the newest form of the only one."""
        if self._is_growing:
            self._made = [item]
        elif len(self._made) < MAX_ITEMS:
            self._made.append(item)

    def returned(self, value: Any, /) -> None:
        """Record the object. A call that returns a stream goes on until the stream is read."""
        if isgenerator(value) or isasyncgen(value):
            return
        super().returned(value)

    def _record(self, value: Any) -> None:
        made: Any = self._made or value
        if self._is_growing and isinstance(made, list):  # Instructor has read the streams of some clients itself
            made = items(made)[-1]
        about: dict[str, Any] = {**self._about, "attempts": self._attempts}
        if self.recorder.with_content and self._failures:
            about["response"] = {"failed_attempts": self._failures}
        self.span.set_attribute(RESPONSE, to_json(about))
        if made is not None:
            self.write(lambda: {ours.OUTPUT: told(made)})

    def _record_error(self, error: BaseException) -> None:
        guarded(self._record, None)  # the part of a stream that was read
        super()._record_error(error)


def begin(recorder: Recorder, kwargs: Mapping[str, Any]) -> Extraction:
    """Start the span of a call of Instructor's loop of attempts, which has its arguments by name."""
    model = kwargs["response_model"]
    name = str(getattr(model, "__name__", None) or model)
    about = {key: found for key in ("provider", "mode") if (found := _value(kwargs.get(key)))}
    span = recorder.start(f"extract {name}", {ours.KIND: "CHAIN"}, lambda: _asked(kwargs))
    is_growing = any(base.__name__ == _PARTIAL for base in getattr(model, "__mro__", ()))
    return Extraction(recorder, span, about, is_growing=is_growing)


def _value(choice: Any) -> str | None:
    return string(getattr(choice, "value", choice))


def _asked(kwargs: Mapping[str, Any]) -> Content:
    """Return the conversation; with a context for validation, both."""
    request, context = kwargs["kwargs"], kwargs.get("context")
    messages = [input_message(one) for one in objects(request.get("messages"))]
    more = rest({"context": context}, frozenset())
    if messages and not more:
        return {names.INPUT_MESSAGES: messages}
    asked = {"messages": messages} if messages else rest({name: request.get(name) for name in _REQUESTS}, frozenset())
    return {ours.INPUT: {**asked, **more}}


_ATTEMPTS: Final = ("retry_sync_v2", "retry_async_v2")


class InstructorInstrumentor(Integration):
    """Objects extracted from models' answers, sync, async and streamed: one CHAIN span for all attempts.

    The client (openai, anthropic, ...) makes the span of each model call. The attempts whose answers did not fit the
    class are listed with their errors. An object from Instructor's cache makes no span, since no model is called. See
    `Integration` for the options of `instrument()`.
    """

    library = "instructor"
    hooked_modules = ("instructor.v2.core.patch",)

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        def extracting(original: OriginalCall) -> Any:
            if original.kwargs.get("response_model") is None or not self._lets_through(original.owner):
                return original()
            scope = guarded(begin, self._recorder, original.kwargs)
            if scope is None:
                return original()
            before = original.kwargs.get("hooks")
            hooks = module.Hooks() if before is None else before.copy()
            guarded(scope.listen, hooks)
            original.kwargs = {**original.kwargs, "hooks": hooks}
            if iscoroutinefunction(original.function):
                return _awaited(scope, original)
            return call_inside(scope, original)

        for name in _ATTEMPTS:
            yield patch(module, name, extracting)


async def _awaited(scope: Extraction, original: OriginalCall) -> Any:
    result = await await_inside(scope, original)
    return read_inside(scope, result) if isasyncgen(result) else result
