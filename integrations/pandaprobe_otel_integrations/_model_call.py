"""The span of one model call, from its request to the end of its answer, for any client library."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Tracer

from pandaprobe_otel.mapping.attributes import CANCELLED, OUTCOME, PARTIAL

from ._background_work import BEGUN
from ._content import encoded
from ._endpoint import Attributes, Body, Endpoint, Failure
from ._error_bodies import body_of, message_in, rest_of_error
from ._guard import guarded
from ._llm_span import with_llm_span
from ._other_members import RESPONSE
from ._replayable import asked, kept
from ._span_writing import fail, present

_OPERATION: Final = "gen_ai.operation.name"
_REQUEST_MODEL: Final = "gen_ai.request.model"
_RESPONSE_MODEL: Final = "gen_ai.response.model"
_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """The tracer and switches for all spans of one integration."""

    tracer: Tracer
    with_content: bool
    replayable: bool = False
    """True if spans keep the data from which their calls can be rebuilt."""


class ModelCall:
    """One span. By OpenTelemetry's rules, attributes that are added after its end are lost."""

    __slots__ = ("_asked", "_model", "_recorder", "endpoint", "is_settled", "span", "started_ns")

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
        keeps = recorder.replayable and recorder.with_content
        self._asked: Any = guarded(asked, body) if keeps else None
        operation = endpoint.operation
        # All attributes are set at the start, because each later call of the API costs as much as three attributes.
        attributes: Attributes = {_OPERATION: operation, **place}
        guarded(_read_request, endpoint, body, attributes, recorder.with_content)
        if None in attributes.values():
            attributes = present(attributes)
        model: Any = attributes.get(_REQUEST_MODEL)
        self._model = model
        self.span: Span = recorder.tracer.start_span(
            f"{operation} {model}" if model else operation,
            context,
            kind=SpanKind.CLIENT,
            attributes=attributes,
            start_time=self.started_ns,
        )

    def context(self, context: Context) -> Context:
        """Return the context that the call runs in: this span is its LLM span and the parent of spans below."""
        return with_llm_span(self.span, context)

    def add(self, attributes: Mapping[str, Any]) -> None:
        """Add further attributes, without None values."""
        if found := present(attributes):
            self.span.set_attributes(found)

    def answered(self, body: Body) -> None:
        """Record the answer, complete or partial, in the form of an answer without streaming.

        Call this only while the span is recording; otherwise the work is useless.
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
        tells = answer.is_whole or answer.failure is not None
        self.is_settled = self.is_settled or tells or _FINISH_REASONS in attributes or OUTCOME in attributes
        if not self._model and _RESPONSE_MODEL in attributes:
            self.span.update_name(f"{self.endpoint.operation} {attributes[_RESPONSE_MODEL]}")
        if answer.goes_on is not None:
            BEGUN.add(answer.goes_on, self.span)
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
            self._record_refusal(body, message_in({"error": body}) or message_in(body))

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
            self._record_refusal(body, said)
        fail(self.span, str(status), f"{reason}: {said}" if said else reason)

    def _record_refusal(self, body: Body | None, message: str | None) -> None:
        if more := rest_of_error(body, message):
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
