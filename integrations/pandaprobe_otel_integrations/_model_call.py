"""The span of one model call, from its request to the end of its answer, for any client library."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    NoOpTracer,
    Span,
    SpanContext,
    SpanKind,
    Tracer,
    get_current_span,
    set_span_in_context,
)

from pandaprobe_otel.budgets import holds_in, settle
from pandaprobe_otel.mapping.attributes import CANCELLED, OPERATION_NAME, OUTCOME, PARTIAL, REPLAY
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._endpoint import Attributes, Body, Endpoint, Failure
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._json import Content, encoded, items, obj, string, to_json
from pandaprobe_otel_integrations._other_members import RESPONSE, rest
from pandaprobe_otel_integrations._spans import fail, present, with_llm_span

# -- work that a service continues after its answer: a later request for it joins the span that started the work -------

_MAX_KEPT: Final = 1024
_V = TypeVar("_V")


class RecentIds(dict[str, _V]):
    """Values by ids of services. If there are too many, the oldest are forgotten."""

    def keep(self, one: str, value: _V) -> None:
        """Keep the value of a new id."""
        if len(self) >= _MAX_KEPT:
            self.pop(next(iter(self)), None)
        self.setdefault(one, value)


BEGUN: Final = RecentIds[SpanContext]()
"""The spans of this process that started background work, by the ids of the work."""


def context_of_work(one: str | None, context: Context) -> Context:
    """Return the context for a request about background work.

    The request is below the span that started the work, unless it is in the same trace anyway.
    """
    begun = BEGUN.get(one) if one is not None else None
    if begun is None or begun.trace_id == get_current_span(context).get_span_context().trace_id:
        return context
    return set_span_in_context(NonRecordingSpan(begun), context)


# -- the data from which a call can be rebuilt exactly, kept only with `init(replayable=True)` -------------------------

MAX_CHARS: Final = 64_000
"""Largest size of the attribute. It is below the bound of a span's data, so that nothing is cut inside it."""
_CONVERSATION: Final = frozenset(
    {
        *("messages", "input", "contents", "system", "instructions", "systemInstruction", "system_instruction"),
        *("prompt", "model", "stream", "tools", "toolConfig", "functions", "modelId"),
    }
)
"""Members of requests that are recorded in messages and attributes."""
_OF_THE_CLIENT: Final = frozenset({"ResponseMetadata", "stream"})


def asked(body: Body) -> Mapping[str, Any]:
    """Return the members of a request to keep, without credentials."""
    return rest(body, _CONVERSATION)


def kept(request: Mapping[str, Any], answer: Body) -> dict[str, str]:
    """Return the attribute; if the answer is too long, a marker."""
    told = {name: value for name, value in answer.items() if name not in _OF_THE_CLIENT}
    text = to_json({"request": request, "answer": told})
    if len(text) > MAX_CHARS:
        text = to_json({"left_out": f"{len(text)} characters, more than {MAX_CHARS}"})
    return {REPLAY: text}


# -- the body of a refused or failed call, and its message, in the many formats of services ----------------------------

_HOLDERS: Final = ("body", "details", "response")
"""Attributes in which exceptions of client libraries keep the answer."""
_OF_BOTOCORE: Final = frozenset({"ResponseMetadata", "Error"})
"""Headers, code and message, which are also in the text of botocore's exception."""


def message_in(body: Any) -> str | None:
    """Return the message of an error body: `error` as text or object, `message`, or `detail` as text or list."""
    found = obj(body)
    error = found.get("error")
    text = string(error) or string(obj(error).get("message")) or string(found.get("message"))
    if text is not None:
        return text
    detail = found.get("detail")
    if string(detail) is not None:
        return string(detail)
    messages = [string(obj(item).get("msg")) for item in items(detail)]
    return "; ".join(message for message in messages if message) or None


def body_of(error: BaseException) -> Mapping[str, Any] | None:
    """Return the answer in an exception of a client library, unless the exception's text already contains all of it."""
    for name in _HOLDERS:
        body: Any = getattr(error, name, None)
        if isinstance(body, str):
            with suppress(ValueError):
                body = json.loads(body)
        if isinstance(body, Mapping):
            return None if str(body) in str(error) else obj(body)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return _body_behind(error)


def _body_behind(error: BaseException) -> Mapping[str, Any] | None:
    """Return the answer from the HTTP client's exception behind this one. Ollama's own exception has only a message."""
    response: Any = getattr(error.__context__, "response", None)
    with suppress(ValueError, RuntimeError):  # not JSON, or never read
        content: Any = getattr(response, "content", None)
        if isinstance(content, bytes):
            return obj(json.loads(content)) or None
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """The tracer and switches for all spans of one integration."""

    tracer: Tracer
    with_content: bool
    replayable: bool = False
    """True if spans keep the data from which their calls can be rebuilt."""
    gate: Callable[[Any], bool] = lambda client: True
    """Returns whether to record the calls of a client; otherwise, hooks only pass calls on."""

    def start(
        self,
        name: str,
        attributes: Mapping[str, Any],
        content: Callable[[], Content] | None = None,
        *,
        context: Context | None = None,
        is_model_call: bool = False,
    ) -> Span:
        """Start the span of a step, without None values. `content` is its input."""
        kind = SpanKind.CLIENT if is_model_call else SpanKind.INTERNAL
        span = self.tracer.start_span(name, context, kind=kind, attributes=present(attributes))
        if content is not None:
            self.write(span, content)
        return span

    def write(self, span: Span, content: Callable[[], Content]) -> None:
        """Write content on a span. It is read only if it is recorded, and errors in it are not the app's."""
        if self.with_content and span.is_recording():
            guarded(lambda: span.set_attributes(encoded(content())))


UNSEEN: Final = Recorder(tracer=NoOpTracer(), with_content=False)
"""The recorder of calls that other spans record, and that count in a budget."""


class ModelCall:
    """One span. By OpenTelemetry's rules, attributes that are added after its end are lost."""

    __slots__ = ("_asked", "_holds", "_model", "_place", "_recorder", "endpoint", "is_settled", "span", "started_ns")

    def __init__(
        self,
        recorder: Recorder,
        endpoint: Endpoint,
        body: Body,
        place: Attributes,
        context: Context,
        started_ns: int | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.is_settled = False
        """True if the span already shows how the call ended: a finish reason or an error."""
        self.started_ns = started_ns or time.time_ns()
        self._recorder = recorder
        self._holds = holds_in(context)
        self._place = place
        keeps = recorder.replayable and recorder.with_content
        self._asked: Any = guarded(asked, body) if keeps else None
        operation = endpoint.operation
        # All attributes are set at the start, because each later call of the API costs as much as three attributes.
        attributes: Attributes = {OPERATION_NAME: operation, **place}
        guarded(_read_request, endpoint, body, attributes, recorder.with_content)
        if None in attributes.values():
            attributes = present(attributes)
        model: Any = attributes.get(names.REQUEST_MODEL)
        self._model = model
        self.span: Span = recorder.tracer.start_span(
            f"{operation} {model}" if model else operation,
            context,
            kind=SpanKind.CLIENT,
            attributes=attributes,
            start_time=self.started_ns,
        )

    @property
    def is_read(self) -> bool:
        """True if a span that is recorded, or a budget, reads the answer."""
        return self.span.is_recording() or bool(self._holds)

    def context(self, context: Context) -> Context:
        """Return the context that the call runs in: this span is its LLM span and the parent of spans below."""
        return with_llm_span(self.span, context)

    def add(self, attributes: Mapping[str, Any]) -> None:
        """Add further attributes, without None values."""
        if found := present(attributes):
            self.span.set_attributes(found)

    def answered(self, body: Body) -> None:
        """Record the answer, complete or partial, in the form of an answer without streaming.

        Call this only if `is_read`; otherwise the work is useless.
        """
        answer = self.endpoint.answer(body, with_content=self._recorder.with_content)
        attributes = answer.attributes
        if None in attributes.values():
            attributes = present(attributes)
        if self._recorder.with_content:
            attributes.update(encoded(answer.content))
        if self._asked is not None:
            attributes.update(guarded(kept, self._asked, body) or {})
        self.span.set_attributes(attributes)
        if self._holds:
            holds, self._holds = self._holds, ()
            told = {names.REQUEST_MODEL: self._model, **self._place, **attributes}
            guarded(settle, holds, f"{self.endpoint.operation} {self._model or ''}".strip(), told)
        tells = answer.is_whole or answer.failure is not None
        self.is_settled = self.is_settled or tells or names.FINISH_REASONS in attributes or OUTCOME in attributes
        if not self._model and names.RESPONSE_MODEL in attributes:
            self.span.update_name(f"{self.endpoint.operation} {attributes[names.RESPONSE_MODEL]}")
        if answer.goes_on is not None:
            BEGUN.keep(answer.goes_on, self.span.get_span_context())
        if answer.failure is not None:
            self._note_failure(answer.failure)

    def raised(self, error: BaseException) -> None:
        """Record that the call ended with an exception.

        Cancellation and similar exceptions are control flow, not a failure.
        """
        was_answered, self.is_settled = self.is_settled, True
        if not isinstance(error, Exception):
            self.span.set_attribute(OUTCOME, CANCELLED)
            return
        # The provider's error text may quote the prompt.
        text = str(error) if self._recorder.with_content else type(error).__name__
        fail(self.span, _type_name(error), text)
        if self._recorder.with_content and not was_answered and (body := body_of(error)) is not None:
            self._record_refusal(body)

    def left(self) -> None:
        """Mark the answer as partial if it broke off or was not read to its end.

        An answer whose content shows how it ended is not partial.
        """
        if not self.is_settled:
            self.span.set_attribute(OUTCOME, PARTIAL)

    def refused(self, status: int, body: Body | None) -> None:
        """Record an HTTP error status of the service. Whether the client raises an exception is not known yet."""
        reason = f"HTTP {status}"
        said = message_in(body) if self._recorder.with_content else None
        if self._recorder.with_content:
            self._record_refusal(body)
        fail(self.span, str(status), f"{reason}: {said}" if said else reason)

    def _record_refusal(self, body: Body | None) -> None:
        if more := rest(obj(body), _OF_BOTOCORE):
            self.span.set_attributes(encoded({RESPONSE: {"response": more}}))

    def end(self, end_ns: int | None = None) -> None:
        """End the span, now or at `end_ns` (epoch ns)."""
        self.span.end(end_ns)

    def _note_failure(self, failure: Failure) -> None:
        fail(self.span, failure.type, failure.message if self._recorder.with_content else failure.type)


def _read_request(endpoint: Endpoint, body: Body, attributes: Attributes, with_content: bool) -> None:
    try:
        attributes.update(endpoint.request_attributes(body))
    finally:
        # Readable content is recorded even if the rest cannot be read.
        if with_content:
            attributes.update(encoded(endpoint.request_content(body)))


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
