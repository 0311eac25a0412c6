"""One model call over HTTP: its span, and the body that the app reads after the call has returned."""

from __future__ import annotations

import time
from typing import Any, Final, TypeVar

from opentelemetry.context import Context, get_value, set_value

from pandaprobe_otel_integrations._endpoint import Attributes, Body
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._llm_span import LLM_SPAN_KEY, SPAN_KEY
from pandaprobe_otel_integrations._model_call import ModelCall
from pandaprobe_otel_integrations._streams.body import BodyRecord, ObservedBody
from pandaprobe_otel_integrations._streams.tee import observed

from .response import BodyFormat, content_along, content_in_memory, is_in_memory

_CALL_KEY: Final = "pandaprobe-http-call"
ERROR_STATUS: Final = 400
"""Lowest status of a refused request."""
_EVENTS: Final = BodyFormat(content_type="text/event-stream", content_encoding="")

B = TypeVar("B", bound=ObservedBody)


class HttpCall:
    """A model call, opened before the request and ended once, by the first of its possible ends."""

    __slots__ = (
        "_answer",
        "_answered_ns",
        "_body",
        "_model_call",
        "_refused_with",
        "_written",
        "owner",
    )

    def __init__(self, owner: object, model_call: ModelCall) -> None:
        self.owner = owner
        self._model_call = model_call
        self._body: ObservedBody | None = None
        self._answer: Body | None = None
        self._answered_ns: int | None = None
        self._refused_with: int | None = None
        self._written = _EVENTS

    def context(self, context: Context) -> Context:
        """Return the context that the request runs in. Code that sees the response finds this call in the context."""
        span = self._model_call.span
        # This does the work of `with_llm_span` and `marked` with one copy of the context, instead of one for each
        # entry.
        return Context({**context, SPAN_KEY: span, LLM_SPAN_KEY: span, _CALL_KEY: self})

    def received(self, response: Any, retries_taken: int | None = None, *, refused_is_final: bool = False) -> None:
        """Take the HTTP response, whose body is read or still arriving.

        `refused_is_final` is True for an error status if no exception reports it later and no further attempt follows.
        """
        if retries_taken:
            self._model_call.add({"http.request.resend_count": retries_taken})
        if not self._model_call.span.is_recording():
            return
        refused = response.status_code >= ERROR_STATUS
        if refused and not refused_is_final:
            return
        self._refused_with = response.status_code if refused else None
        if is_in_memory(response):
            self._answered_ns = time.time_ns()
            self._answer = content_in_memory(response, self._model_call.endpoint)
        else:
            self._read_along(response)

    def answered(self, body: Body | None) -> None:
        """Take the JSON of an answer that the client has read itself."""
        self._answered_ns = time.time_ns()
        if self._model_call.span.is_recording():
            self._answer = body

    def add(self, attributes: Attributes) -> None:
        """Add further attributes, such as those from headers."""
        self._model_call.add(attributes)

    def read_through(self, owner: object, kind: type[B], written: BodyFormat = _EVENTS) -> B:
        """Return an empty body for an `owner` other than an HTTP response; the caller fills it while the app reads.

        If the client has already split the bytes into items, each item is kept as a server-sent event.
        """
        self._written = written
        body = kind(self._body_ended, last=self._model_call.endpoint.last_event)
        body.watch(owner)
        self._body = body
        return body

    def returned(self) -> None:
        """End the span when the call has returned, unless the app still reads the body."""
        self.owner = None
        if self._body is None:
            try:
                if self._refused_with is None and self._answer is not None:
                    self._model_call.answered(self._answer)
                else:
                    self._record_answer()
            finally:
                self._model_call.span.end(self._answered_ns)

    def raised(self, error: BaseException) -> None:
        """End the span with the exception of the call. An answer that arrived before is kept, because it was billed."""
        self.owner = None
        if self._body is not None:
            self._body.end("failed", error)
            return
        guarded(self._record_answer)
        guarded(self._model_call.raised, error)
        self._model_call.end()

    def _record_answer(self) -> None:
        if self._refused_with is not None:
            self._model_call.refused(self._refused_with, self._answer)
        elif self._answer is not None:
            self._model_call.answered(self._answer)

    def _read_along(self, response: Any) -> None:
        if self._body is not None:
            self._body.abandon()
        self._written = BodyFormat.of(response)
        body = ObservedBody(self._body_ended, last=self._model_call.endpoint.last_event)
        stream = observed(response.stream, body)
        body.watch(response)
        response.stream = stream
        self._body = body

    def _body_ended(self, record: BodyRecord) -> None:
        """Add the content of the body to the span, and end the span at the time of the last chunk.

        The body holds this call, so nothing here may hold the response, which must stay collectable.
        """
        span = self._model_call.span
        try:
            if record.error is not None and not isinstance(record.error, GeneratorExit):
                self._model_call.raised(record.error)
            if span.is_recording():
                self._record_body(record)
        finally:
            span.end(record.times_ns[-1] if record.times_ns else None)

    def _record_body(self, record: BodyRecord) -> None:
        said = content_along(record, self._written, self._model_call.endpoint)
        if self._refused_with is not None:
            self._model_call.refused(self._refused_with, said.body)
            return
        if said.first_output_ns is not None:
            elapsed_s = max(0, said.first_output_ns - self._model_call.started_ns) / 1e9
            self._model_call.add({"gen_ai.response.time_to_first_chunk": elapsed_s})
        if said.body is not None:
            self._model_call.answered(said.body)
        if not said.is_whole:
            self._model_call.left()


def marked(call: HttpCall, context: Context) -> Context:
    """Return a context in which `call` is being made."""
    return set_value(_CALL_KEY, call, context)


def call_in(context: Context, owner: object) -> HttpCall | None:
    """Return the call that `owner` makes in `context`."""
    call = get_value(_CALL_KEY, context)
    return call if isinstance(call, HttpCall) and call.owner is owner else None


def any_call_in(context: Context) -> bool:
    """Return whether any call is being made in `context`."""
    return isinstance(get_value(_CALL_KEY, context), HttpCall)


def without_call(context: Context) -> Context | None:
    """Return `context` without its call; None if it has none."""
    return None if get_value(_CALL_KEY, context) is None else set_value(_CALL_KEY, None, context)
