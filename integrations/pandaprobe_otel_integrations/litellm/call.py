"""What becomes of a call: an answer in one piece, or a stream that the app reads."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import Token
from typing import Any

from opentelemetry.context import Context, attach

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._context_slot import restore
from pandaprobe_otel_integrations._endpoint import Attributes, Body
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._model_call import ModelCall
from pandaprobe_otel_integrations._openai_protocol.chat_stream import merged_chunks
from pandaprobe_otel_integrations._shape import obj, string
from pandaprobe_otel_integrations._streams.body import BodyRecord, End
from pandaprobe_otel_integrations._streams.items import ObservedItems
from pandaprobe_otel_integrations._streams.sse import Event

from .functions import answer_of, chunk_of
from .place import named


def returned(call: ModelCall, result: Any, logging: Any) -> None:
    """The answer is there."""
    if call.span.is_recording():
        call.add(_decided(logging))
        guarded(call.answered, answer_of(result))
    call.end()


class ObservedStream:
    """The span of a stream; it ends with the stream, and holds nothing of it but its chunks."""

    __slots__ = ("_call", "_context", "_kept", "_model", "is_being_read", "items")

    def __init__(self, call: ModelCall, context: Context, stream: Any, shown: Any) -> None:
        call.add(_decided(getattr(stream, "logging_obj", None)))
        self._call = call
        self._context: Context | None = context
        # Counts that the app has not asked for are not in what it reads, but among the chunks that litellm keeps.
        self._kept: Sequence[Any] = stream.chunks
        self._model: str | None = None
        self.is_being_read = False
        self.items = ObservedItems(self._end)
        self.items.watch(shown)

    def enter(self) -> Token[Context] | None:
        """Before each chunk. Some providers are only asked before the first one, and that is part of this call."""
        self.is_being_read = True
        context, self._context = self._context, None
        return attach(context) if context is not None else None

    def leave(self, token: Token[Context] | None) -> None:
        """After each chunk, with what `enter` returned."""
        self.is_being_read = False
        if token is not None:
            restore(token)

    def ended(self, stream: Any, how: End, error: BaseException | None = None) -> None:
        """The stream is exhausted, closed or broken."""
        # What the app reads names the model that it asked for; this is the one that answered.
        self._model = string(getattr(stream, "_provider_response_model", None))
        self.items.end(how, error)

    def _end(self, record: BodyRecord) -> None:
        guarded(self._tell, record)
        self._call.end(record.times_ns[-1] if record.times_ns else None)

    def _tell(self, record: BodyRecord) -> None:
        if record.error is not None:
            self._call.raised(record.error)
        if not self._call.span.is_recording():
            return
        chunks = [chunk_of(chunk) for chunk in record.chunks]
        first = next((at for at, chunk in enumerate(chunks) if self._is_output(chunk)), None)
        if first is not None:
            elapsed_s = max(0, record.times_ns[first] - self._call.started_ns) / 1e9
            self._call.add({"gen_ai.response.time_to_first_chunk": elapsed_s})
        merged = {**merged_chunks(chunks)}
        merged["usage"] = merged.get("usage") or self._usage()
        merged["model"] = self._model or merged.get("model")
        self._call.answered(merged)

    def _is_output(self, chunk: Body) -> bool:
        return self._call.endpoint.is_output(Event(None, chunk, 0))

    def _usage(self) -> Body:
        usages = (getattr(chunk, "usage", None) for chunk in reversed(self._kept))
        return obj(next((usage for usage in usages if usage is not None), None))


def _decided(logging: Any) -> Attributes:
    """The provider that litellm chose."""
    details = obj(getattr(logging, "model_call_details", None))
    provider = string(details.get("custom_llm_provider"))
    return {names.PROVIDER: named(provider)}
