"""Batches of messages: `POST /v1/messages/batches` submits one, `GET …/batches/{id}/results` returns all answers.

Neither is a model call, so their spans name no model: the price of the model's tokens does not apply to a batch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body, DescribedEndpoint, Service
from pandaprobe_otel_integrations._json import Content, Object, items, obj, objects, string
from pandaprobe_otel_integrations._model_call import SeenIds
from pandaprobe_otel_integrations._other_members import rest, with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._streams.sse import Event, Events
from pandaprobe_otel_integrations.anthropic.messages import block_parts, input_messages

from .messages import failure_in, usage_attributes

MAX_SHOWN: Final = 100
"""Largest number of requests and answers whose content is recorded; a batch may have 100,000."""
_MESSAGES: Final = frozenset({"messages"})
_ANSWER: Final = frozenset({"type", "role", "content", "stop_reason"})
_seen: Final = SeenIds()


def _requests(requests: Any) -> list[Part]:
    """Return the last message of each request by the app's id for it, with the request's other data."""
    return [_request_of(obj(one)) for one in items(requests)[:MAX_SHOWN]]


def _number(requests: Any) -> int:
    return len(items(requests))


class CreatedBatch(DescribedEndpoint):
    """The submission of a batch."""

    operation = "create_batch"
    service = Service(failure=failure_in)
    request = {"requests": (names.BATCH_REQUESTS, _number)}
    input = {"requests": (names.INPUT_MESSAGES, _requests)}
    response = {"id": (names.RESPONSE_ID, string), "processing_status": (names.RESPONSE_STATUS, string)}
    empty = ("type",)

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the batch's id and status."""
        return replace(super().answer(body, with_content=with_content), goes_on=string(body.get("id")))

    def merged(self, events: Events) -> Body:
        """Return one line per result."""
        return {"results": [event.data for event in events.items]}

    def is_output(self, event: Event) -> bool:
        """Return whether the event is any result."""
        return True


class BatchResults(CreatedBatch):
    """The answers of a batch, read line by line. Their tokens count when this process reads them for the first time."""

    operation = "fetch_batch_results"

    def __init__(self, batch_id: str) -> None:
        self.response_id = batch_id

    def request_attributes(self, body: Body) -> Attributes:
        """Return the id, the only parameter."""
        return {names.RESPONSE_ID: self.response_id}

    def request_content(self, body: Body) -> Content:
        """Return nothing: this request has no content."""
        return {}

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the number of results and failures, the sum of tokens, and the content."""
        results = objects(body.get("results"))
        answered = [obj(obj(one.get("result")).get("message")) for one in results]
        read = [message for message in answered if message]
        attributes: Attributes = {names.BATCH_COMPLETED: len(read), names.BATCH_FAILED: len(results) - len(read)}
        if _seen.is_first(self.response_id):
            attributes.update(_sums([usage_attributes(message.get("usage")) for message in read]))
        content = {names.OUTPUT_MESSAGES: [_answer_of(one) for one in results[:MAX_SHOWN]]} if with_content else {}
        return Answer(attributes=attributes, content=content, failure=failure_in(body.get("error")))


def _sums(usages: list[Attributes]) -> Attributes:
    counted = {name for usage in usages for name, value in usage.items() if value is not None}
    return {name: sum(usage.get(name) or 0 for usage in usages) for name in counted}


def _request_of(request: Object) -> Part:
    params = obj(request.get("params"))
    messages = input_messages(objects(params.get("messages")))
    last: Part = messages.pop() if messages else {"role": "user", "parts": []}
    more = rest(params, _MESSAGES)
    if messages:
        more["messages"] = messages
    asked: Part = {**last, "name": string(request.get("custom_id")) or ""}
    return {**asked, "request": more} if more else asked


def _answer_of(line: Object) -> Part:
    result = obj(line.get("result"))
    message = obj(result.get("message"))
    said: list[Any] = block_parts(message.get("content"))
    error = obj(obj(result.get("error")).get("error"))
    if not said and (text := string(error.get("message"))):
        said = [parts.text(text)]
    reason = "stop" if result.get("type") == "succeeded" else string(result.get("type")) or "error"
    name = string(line.get("custom_id")) or ""
    return with_rest({"role": "assistant", "name": name, "parts": said, "finish_reason": reason}, message, _ANSWER)
