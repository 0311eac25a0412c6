"""One call of a Stainless client: its span, and the body that the app reads after the call has returned."""

from __future__ import annotations

import time
from typing import Any, Final

from opentelemetry.context import Context, get_value, set_value

from pandaprobe_otel_integrations._endpoint import Body
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._model_call import ModelCall
from pandaprobe_otel_integrations._streams.body import BodyRecord, ObservedBody
from pandaprobe_otel_integrations._streams.tee import observed

from .response import BodyFormat, is_in_memory, said_along, said_in_memory

_CALL_KEY: Final = "pandaprobe-stainless-call"
_FIRST_ERROR: Final = 400


class StainlessCall:
    """Opened by `request`, shown the response by `_process_response`, ended by whichever end comes first."""

    __slots__ = ("_answer", "_answered_ns", "_body", "_model_call", "owner")

    def __init__(self, owner: object, model_call: ModelCall) -> None:
        self.owner = owner
        self._model_call = model_call
        self._body: ObservedBody | None = None
        self._answer: Body | None = None
        self._answered_ns: int | None = None

    def context(self, context: Context) -> Context:
        """The context that `request` runs in; `_process_response` finds this call there."""
        return set_value(_CALL_KEY, self, self._model_call.context(context))

    def received(self, response: Any, retries_taken: int | None) -> None:
        """The HTTP response is there, its body read or still on the way."""
        if retries_taken:
            self._model_call.add({"http.request.resend_count": retries_taken})
        # Middleware of the client sees refused responses too, and may ask several times; the last answer counts.
        if not self._model_call.span.is_recording() or response.status_code >= _FIRST_ERROR:
            return
        if is_in_memory(response):
            self._answered_ns = time.time_ns()
            self._answer = said_in_memory(response, self._model_call.endpoint)
        else:
            if self._body is not None:
                self._body.abandon()
            written = BodyFormat.of(response)
            model_call = self._model_call
            body = ObservedBody(
                lambda record: _finish(model_call, record, written), last=model_call.endpoint.last_event
            )
            stream = observed(response.stream, body)
            body.watch(response)
            response.stream = stream
            self._body = body

    def returned(self) -> None:
        """The call has returned; unless the app reads the body now, this is the end."""
        self.owner = None
        if self._body is None:
            if self._answer is not None:
                guarded(self._model_call.answered, self._answer)
            self._model_call.end(self._answered_ns)

    def raised(self, error: BaseException) -> None:
        """The call raised. An answer that came before is kept: it was paid for."""
        self.owner = None
        if self._body is not None:
            self._body.end("failed", error)
            return
        if self._answer is not None:
            guarded(self._model_call.answered, self._answer)
        guarded(self._model_call.raised, error)
        self._model_call.end()


def call_in(context: Context, owner: object) -> StainlessCall | None:
    """The call that `owner` is making in `context`."""
    call = get_value(_CALL_KEY, context)
    return call if isinstance(call, StainlessCall) and call.owner is owner else None


def without_call(context: Context) -> Context | None:
    """`context` without the call in it; None when there is none."""
    return None if get_value(_CALL_KEY, context) is None else set_value(_CALL_KEY, None, context)


def _finish(model_call: ModelCall, record: BodyRecord, written: BodyFormat) -> None:
    guarded(_tell, model_call, record, written)
    model_call.end(record.times_ns[-1] if record.times_ns else None)


def _tell(model_call: ModelCall, record: BodyRecord, written: BodyFormat) -> None:
    if record.error is not None:
        model_call.raised(record.error)
    if not model_call.span.is_recording():
        return
    said = said_along(record, written, model_call.endpoint)
    if said.first_output_ns is not None:
        elapsed_s = max(0, said.first_output_ns - model_call.started_ns) / 1e9
        model_call.add({"gen_ai.response.time_to_first_chunk": elapsed_s})
    if said.body is not None:
        model_call.answered(said.body)
