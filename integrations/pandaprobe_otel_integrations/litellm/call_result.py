"""The result of a call: an answer in one piece, or a stream that the app reads."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import Token
from typing import Any

from opentelemetry.context import Context, attach

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._context_slot import restore
from pandaprobe_otel_integrations._endpoint import Body
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._model_call import ModelCall
from pandaprobe_otel_integrations._shape import obj, string
from pandaprobe_otel_integrations._streams.body import BodyRecord, End
from pandaprobe_otel_integrations._streams.items import ObservedItems
from pandaprobe_otel_integrations._streams.sse import Event, Events

from .functions import Function
from .provider import named


class FunctionCall:
    """One call of a function of litellm, until it returns."""

    __slots__ = ("_call", "_context", "_function", "_logging", "_provider")

    def __init__(
        self, call: ModelCall, context: Context, function: Function, logging: Any, provider: str | None
    ) -> None:
        """Create the call. `provider` is the provider that the span has at this point, by the conventions' names."""
        self._call = call
        self._provider = provider
        self._context = context
        self._function = function
        self._logging = logging

    def take(self, result: Any) -> tuple[Any, ObservedStream] | None:
        """Take the function's result: an answer, or a stream, which is returned with its observer."""
        stream = self._function.stream_in(result)
        if stream is not None:
            return stream, ObservedStream(self._call, self._context, self._function, stream, result)
        try:
            if self._call.span.is_recording():
                provider = _decided(self._logging)
                if provider is not None and provider != self._provider:
                    self._call.add({names.PROVIDER: provider})
                self._call.answered(self._function.answer_of(result))
        finally:
            self._call.end()
        return None

    def raised(self, error: BaseException) -> None:
        """Record that the function raised."""
        self._call.raised(error)
        self._call.end()

    def returned(self) -> None:
        """Do nothing: `take` has recorded the result."""


class ObservedStream:
    """The span of a stream. It ends with the stream, and keeps only the stream's chunks."""

    __slots__ = ("_call", "_context", "_function", "_kept", "_model", "is_being_read", "items")

    def __init__(self, call: ModelCall, context: Context, function: Function, stream: Any, shown: Any) -> None:
        call.add({names.PROVIDER: _decided(getattr(stream, "logging_obj", None))})
        self._call = call
        self._context: Context | None = context
        self._function = function
        # Counts that the app has not requested are not in its chunks, but in the chunks that litellm keeps.
        self._kept: Sequence[Any] = getattr(stream, "chunks", ())
        self._model: str | None = None
        self.is_being_read = False
        self.items = ObservedItems(self._end)
        self.items.watch(shown)

    def enter(self) -> Token[Context] | None:
        """Prepare the context before each chunk. Some providers send the request only then, as part of this call."""
        self.is_being_read = True
        context, self._context = self._context, None
        return attach(context) if context is not None else None

    def leave(self, token: Token[Context] | None) -> None:
        """Restore the context after each chunk, from the result of `enter`."""
        self.is_being_read = False
        if token is not None:
            restore(token)

    def ended(self, stream: Any, how: End, error: BaseException | None = None) -> None:
        """Record that the stream is exhausted, closed or broken."""
        # The app's chunks name the model that the app asked for. The stream names the model that answered.
        self._model = string(getattr(stream, "_provider_response_model", None))
        self.items.end(how, error)

    def _end(self, record: BodyRecord) -> None:
        guarded(self._record, record)
        self._call.end(record.times_ns[-1] if record.times_ns else None)

    def _record(self, record: BodyRecord) -> None:
        if record.error is not None and not isinstance(record.error, GeneratorExit):
            self._call.raised(record.error)
        if not self._call.span.is_recording():
            return
        events = [Event(None, self._function.chunk_of(chunk), 0) for chunk in record.chunks]
        endpoint = self._call.endpoint
        first = next((at for at, event in enumerate(events) if endpoint.is_output(event)), None)
        if first is not None:
            elapsed_s = max(0, record.times_ns[first] - self._call.started_ns) / 1e9
            self._call.add({"gen_ai.response.time_to_first_chunk": elapsed_s})
        merged = {**endpoint.merged(Events(events))}
        merged["usage"] = merged.get("usage") or self._usage()
        merged["model"] = self._model or merged.get("model")
        self._call.answered(merged)
        if record.end != "terminal" and not record.is_cut:
            self._call.left()

    def _usage(self) -> Body:
        usages = (getattr(chunk, "usage", None) for chunk in reversed(self._kept))
        return obj(next((usage for usage in usages if usage is not None), None))


def _decided(logging: Any) -> str | None:
    """Return the provider that litellm chose, by the conventions' names."""
    details = obj(getattr(logging, "model_call_details", None))
    return named(string(details.get("custom_llm_provider")))
