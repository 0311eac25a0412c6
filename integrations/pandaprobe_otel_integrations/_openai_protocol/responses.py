"""`POST /responses`, and `GET /responses/{id}`, which fetches a response again."""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import replace
from typing import Any, Final

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body, Failure
from pandaprobe_otel_integrations._logprobs import with_logprobs
from pandaprobe_otel_integrations._other_members import beside, names_of, parameters
from pandaprobe_otel_integrations._seen_ids import SeenIds
from pandaprobe_otel_integrations._shape import Object, obj, objects, string
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.sse import Event, Events

from .body_errors import failure_in
from .chat import ENVELOPE
from .chat_messages import tool_definition
from .parameters import LIMITS, SAMPLING, sampling_attributes
from .response_items import FINAL_STATUSES, finish_reason, input_messages, output_messages, with_items
from .response_stream import merged_events
from .usage import COUNTED, USAGE_NAMES, usage_attributes

_FINAL: Final = rb"response\.(?:completed|failed|incomplete)"
LAST_EVENT: Final = LastEvent(
    hint=b'"response"',
    mark=re.compile(rb"(?:^|[\n\r])(?:event: ?" + _FINAL + rb"[\n\r]|data: ?\{\"type\": ?\"" + _FINAL + rb'")'),
)
_SAID: Final = ("input", "instructions", "tools")
_TOLD: Final = names_of(
    ENVELOPE, ("created_at", "output", "usage", "status", "service_tier", "conversation", "incomplete_details")
)
ECHOES: Final = frozenset(
    {
        *SAMPLING, *LIMITS, *_SAID, "background", "include", "max_tool_calls", "metadata", "parallel_tool_calls",
        "previous_response_id", "prompt", "prompt_cache_key", "prompt_cache_retention", "reasoning",
        "safety_identifier", "store", "text", "tool_choice", "top_logprobs", "truncation", "user",
    }
)  # fmt: skip
"""Members of an answer that repeat the request."""
_seen: Final = SeenIds()
"""Responses whose end is already in a span."""
_OUTCOMES: Final = {"cancelled": ours.CANCELLED, "incomplete": ours.PARTIAL}
_GOING_ON: Final = ("queued", "in_progress")
_PREPARATIONS: Final = frozenset({"response.created", "response.queued", "response.in_progress"})


class Responses:
    """The Responses API: one new response."""

    operation = "chat"
    last_event: LastEvent | None = LAST_EVENT
    read: Set[str] = names_of(SAMPLING, LIMITS, _SAID, ("previous_response_id", "conversation"))
    """Members of a request that are recorded in attributes or messages."""
    answered: Set[str] = _TOLD | ECHOES
    """Members of an answer that are recorded in attributes or messages, or that repeat the request."""

    def request_attributes(self, body: Body) -> Attributes:
        """Return model and parameters."""
        return {
            **sampling_attributes(body),
            names.OUTPUT_TYPE: _output_type(body),
            names.REASONING_LEVEL: string(obj(body.get("reasoning")).get("effort")),
            names.PREVIOUS_RESPONSE_ID: string(body.get("previous_response_id")),
            names.CONVERSATION_ID: _conversation(body.get("conversation")),
            names.API_TYPE: "responses",
        }

    def request_content(self, body: Body) -> Content:
        """Return input, instructions and tools."""
        return {**_output(body), **parameters(body, self.read)}

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return output items, usage, and the error of a response that failed."""
        reason = finish_reason(body)
        attributes: Attributes = {
            names.RESPONSE_ID: string(body.get("id")),
            names.RESPONSE_MODEL: string(body.get("model")),
            names.FINISH_REASONS: [reason] if reason is not None else None,
            names.RESPONSE_SERVICE_TIER: string(body.get("service_tier")),
            names.CONVERSATION_ID: _conversation(body.get("conversation")),
            ours.OUTCOME: _OUTCOMES.get(string(body.get("status")) or ""),
            **usage_attributes(body.get("usage")),
        }
        content: Content = {}
        if with_content:
            # The request has only the id of a stored prompt; the answer contains its text.
            known = self.answered - {"instructions"} if body.get("prompt") else self.answered
            more = with_logprobs(with_items(beside(body, known, COUNTED), body), _texts(body))
            content = {names.OUTPUT_MESSAGES: output_messages(body, reason), **more}
        response_id = string(body.get("id"))
        if _is_over(body):
            _seen.is_first(response_id)
        goes_on = response_id if body.get("status") in _GOING_ON else None
        return Answer(attributes=attributes, content=content, failure=_failure(body), goes_on=goes_on)

    def merged(self, events: Events) -> Body:
        """Return the response of the last event, or the merged earlier events."""
        return merged_events([obj(event.data) for event in events.items])

    def is_output(self, event: Event) -> bool:
        """Return whether the event is the first about output; the events before it only announce the start of work."""
        kind = string(obj(event.data).get("type")) or event.name
        return kind is not None and kind not in _PREPARATIONS


class CompactedResponse(Responses):
    """`POST /responses/compact`: the model shortens a conversation for later requests."""

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the output and the usage. The user's messages come back unchanged, and are not part of the answer."""
        made = [item for item in objects(body.get("output")) if item.get("role") != "user"]
        status = "completed" if made else None
        return super().answer({"status": status, **body, "output": made}, with_content=with_content)


class FetchedResponse(Responses):
    """A request for an existing response.

    It is recorded once, when the response is over, unless the call that made the response has recorded it. The usage
    belongs to the call that made the response, as in the conventions' `fetch_response`. The exception is a response
    that was made in the background: no other call has seen its usage.
    """

    operation = "fetch_response"
    answered: Set[str] = _TOLD | {"previous_response_id"} | names_of(_SAID)

    def __init__(self, response_id: str) -> None:
        self.response_id = response_id

    def is_news(self, body: Body) -> bool:
        """Return whether the response is over, and this process sees that for the first time."""
        return _is_over(body) and string(body.get("id")) not in _seen

    def request_attributes(self, body: Body) -> Attributes:
        """Return the id, the only parameter of a fetch."""
        return {
            names.RESPONSE_ID: self.response_id,
            names.STREAM: True if body.get("stream") is True else None,
            names.API_TYPE: "responses",
        }

    def request_content(self, body: Body) -> Content:
        """Return nothing: a fetch has no content."""
        return {}

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the answer as for a new response, but without the usage of the original call."""
        is_first = _is_over(body) and _seen.is_first(string(body.get("id")))
        answer = super().answer(body, with_content=with_content)
        answer.attributes[names.RESPONSE_STATUS] = string(body.get("status"))
        if not (is_first and body.get("background") is True):
            for name in USAGE_NAMES:
                answer.attributes.pop(name, None)
        content = {**_output({**body, "input": None}), **answer.content} if with_content else {}
        return replace(answer, content=content)


def _output(body: Body) -> Content:
    return {
        names.SYSTEM_INSTRUCTIONS: _instructions(body.get("instructions")),
        names.INPUT_MESSAGES: input_messages(body.get("input")),
        names.TOOL_DEFINITIONS: [tool_definition(tool) for tool in objects(body.get("tools"))],
    }


def _texts(response: Body) -> list[Object]:
    return [piece for item in objects(response.get("output")) for piece in objects(item.get("content"))]


def _is_over(body: Body) -> bool:
    return string(body.get("status")) in FINAL_STATUSES


def _failure(body: Body) -> Failure | None:
    status = string(body.get("status"))
    if status in FINAL_STATUSES and status != "failed":
        return None
    return failure_in(body.get("error"))


def _output_type(body: Body) -> str | None:
    kind = string(obj(obj(body.get("text")).get("format")).get("type"))
    return {"text": "text", "json_object": "json", "json_schema": "json"}.get(kind or "")


def _conversation(value: Any) -> str | None:
    return string(value) or string(obj(value).get("id"))


def _instructions(value: Any) -> list[parts.Part]:
    if text := string(value):
        return [parts.text(text)]
    return [part for message in input_messages(value) for part in message["parts"]]
