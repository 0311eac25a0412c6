"""A model call over HTTP: its span, from the request to the end of the body that the app reads."""

from __future__ import annotations

import time
from collections.abc import Callable
from inspect import isawaitable
from types import CoroutineType
from typing import Any, Final, NamedTuple, TypeVar

from opentelemetry.context import Context, attach, get_value, set_value

from pandaprobe_otel_integrations._endpoint import Attributes, Body, Endpoint
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._json import object_from_json
from pandaprobe_otel_integrations._model_call import ModelCall
from pandaprobe_otel_integrations._spans import LLM_SPAN_KEY, SPAN_KEY, restore
from pandaprobe_otel_integrations._streams.body import BodyRecord, ObservedBody, observed
from pandaprobe_otel_integrations._streams.decoding import decoded
from pandaprobe_otel_integrations._streams.events import EVENTS, arrival, blocks_in
from pandaprobe_otel_integrations._streams.text_runs import joined

# -- reading the content of an HTTP response of httpx or httpx2, with attributes that both have ------------------------


class BodyFormat(NamedTuple):
    """Type and encoding of a body, kept in place of the response, which must stay collectable."""

    content_type: str
    content_encoding: str = ""

    @classmethod
    def of(cls, response: Any) -> BodyFormat:
        """Return the format by the response's headers."""
        headers = response.headers
        return cls(headers.get("content-type") or "", headers.get("content-encoding") or "")


class Said(NamedTuple):
    """The content of a body, as far as the app read it.

    `body` is None if the content is neither JSON nor events. `first_output_ns` (epoch ns) is None without streaming.
    """

    body: Body | None
    first_output_ns: int | None
    is_whole: bool
    """True if the body was read to its end. A body that has no end mark is whole only if its content shows that."""


def is_in_memory(response: Any) -> bool:
    """Return whether the body has been read; then `response.content` is its decoded bytes."""
    return bool(response.is_closed and response.is_stream_consumed)


def content_in_memory(response: Any, endpoint: Endpoint) -> Body | None:
    """Return the content of a response that was read."""
    content: bytes = response.content
    if content.startswith(b"{"):
        return object_from_json(content)
    written = BodyFormat(response.headers.get("content-type") or "")
    return content_along(BodyRecord([content], [], "read", None), written, endpoint).body


def content_along(record: BodyRecord, written: BodyFormat, endpoint: Endpoint) -> Said:
    """Return the content of a body that was recorded while the app read it."""
    content_type, encoding = written
    chunks = [*decoded(record.chunks, encoding)] if encoding else record.chunks
    chunks, blocks = blocks_in(chunks, content_type)
    if blocks is not None:
        end = blocks.first(endpoint.is_output)
        output_at = None if end is None else arrival(end, map(len, chunks), record.times_ns)
        is_whole = record.end == "terminal" or (record.is_read and record.is_cut)
        return Said(endpoint.merged(joined(blocks, endpoint.growing)), output_at, is_whole)
    content = b"".join(chunks)
    if "json" not in content_type and (binary := getattr(endpoint, "binary", None)) is not None:
        return Said(binary(content, content_type), next(iter(record.times_ns), None), record.is_read)
    body = object_from_json(content)
    return Said(body, None, body is not None or record.is_read)


# -- one model call over HTTP: its span, and the body that the app reads after the call has returned -------------------

_CALL_KEY: Final = "pandaprobe-http-call"
ERROR_STATUS: Final = 400
"""Lowest status of a refused request."""
_EVENTS: Final = BodyFormat(EVENTS)

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
        if not self._model_call.is_read:
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
        if self._model_call.is_read:
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
            if self._model_call.is_read:
                self._record_body(record)
        finally:
            span.end(record.times_ns[-1] if record.times_ns else None)

    def _said(self, record: BodyRecord) -> Said:
        return content_along(record, self._written, self._model_call.endpoint)

    def _record_body(self, record: BodyRecord) -> None:
        said = self._said(record)
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


# -- A poll, which gets a span only if its answer is final: apps send many requests for work that is not done ----------


class CountedCall(HttpCall):
    """A call that another span records. It has none of its own, and only counts in a budget."""

    __slots__ = ()

    def context(self, context: Context) -> Context:
        """Return the context with this call, and without its span."""
        return marked(self, context)


class LateCall(HttpCall):
    """A call whose span is made when the answer has arrived and is news. The span starts with the request.

    The endpoint's `is_news` decides about the answer. `make` gets the start time (epoch ns) and the answer. A refused
    request gets no span. A request whose body the app reads itself gets none either.
    """

    __slots__ = ("_endpoint", "_make", "_started_ns")

    def __init__(self, owner: object, endpoint: Any, make: Callable[[int, Body], ModelCall]) -> None:
        self.owner = owner
        self._endpoint = endpoint
        self._make = make
        self._started_ns = time.time_ns()
        self._answer = None

    def context(self, context: Context) -> Context:
        """Return the context with this call, and without its span."""
        return marked(self, context)

    def received(self, response: Any, retries_taken: int | None = None, *, refused_is_final: bool = False) -> None:
        """Take the HTTP response."""
        if response.status_code < ERROR_STATUS and is_in_memory(response):
            self._answer = content_in_memory(response, self._endpoint)

    def returned(self) -> None:
        """Make the span, if the answer is news."""
        self.owner = None
        if self._answer is not None and guarded(self._endpoint.is_news, self._answer):
            call = self._make(self._started_ns, self._answer)
            guarded(call.answered, self._answer)
            call.end()

    def raised(self, error: BaseException) -> None:
        """Drop the call; a later one may succeed."""
        self.owner = None


# -- running a client's function that makes an HTTP call, with the call's span around it -------------------------------


Opened = tuple[HttpCall | None, Context]
"""A call and the context to run it in. If the request gets no span, the call is None."""
Show = Callable[[Any, Any], None]
"""Shows a function's result to its call."""


def show_response(call: HttpCall, response: Any) -> None:
    """Show the response to the call, for a function that returns an HTTP response with any status."""
    call.received(response, refused_is_final=True)


def around(opened: Opened | None, original: Callable[[], Any], *, show: Show | None = None) -> Any:
    """Return or raise as `original` does. `show` passes the returned value to the call."""
    if opened is None:
        return original()
    call, context = opened
    token = attach(context)
    try:
        result = original()
    except BaseException as error:
        if call is not None:
            guarded(call.raised, error)
        raise
    finally:
        restore(token)
    if call is not None:
        guarded(_returned, call, result, show)
    return result


async def around_async(opened: Opened | None, original: Callable[[], Any], *, show: Show | None = None) -> Any:
    """Asynchronous counterpart of `around`; a result that is not awaitable is returned unchanged."""
    token = attach(opened[1]) if opened is not None else None
    call = opened[0] if opened is not None else None
    try:
        result = original()
        if result.__class__ is CoroutineType or isawaitable(result):
            result = await result
    except BaseException as error:
        if call is not None:
            guarded(call.raised, error)
        raise
    finally:
        if token is not None:
            restore(token)
    if call is not None:
        guarded(_returned, call, result, show)
    return result


def _returned(call: HttpCall, result: Any, show: Show | None) -> None:
    try:
        if show is not None:
            show(call, result)
    finally:
        call.returned()
