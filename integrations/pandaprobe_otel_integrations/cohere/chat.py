"""`POST /v2/chat`. Its messages are like OpenAI's; its events have their own form."""

from __future__ import annotations

import re
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body, Failure
from pandaprobe_otel_integrations._json_attributes import Readings, read, true
from pandaprobe_otel_integrations._logprobs import with_logprobs
from pandaprobe_otel_integrations._openai_protocol.chat_messages import input_message, output_messages, tool_definition
from pandaprobe_otel_integrations._other_members import beside, names_of, parameters, told, with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._shape import Object, integer, items, number, obj, objects, string, strings
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.sse import Event, Events
from pandaprobe_otel_integrations._streams.text_runs import Place

from .chat_stream import growing_text, merged_events
from .usage import COUNTED, finish_reason, usage_attributes

_LAST_EVENT: Final = LastEvent(
    hint=b"message-end",
    mark=re.compile(rb'(?:^|[\n\r])(?:event: ?message-end[\n\r]|data: ?\{"type": ?"message-end")'),
)
_OUTPUT_TYPES: Final = {"text": "text", "json_object": "json"}
_OUTPUT: Final = frozenset({"content-delta", "tool-plan-delta", "tool-call-start", "tool-call-delta"})


_SAMPLING: Final[Readings] = {
    "model": (names.REQUEST_MODEL, string),
    "temperature": (names.TEMPERATURE, number),
    "p": (names.TOP_P, number),
    "k": (names.TOP_K, number),
    "max_tokens": (names.MAX_TOKENS, integer),
    "frequency_penalty": (names.FREQUENCY_PENALTY, number),
    "presence_penalty": (names.PRESENCE_PENALTY, number),
    "seed": (names.SEED, integer),
    "stop_sequences": (names.STOP_SEQUENCES, strings),
    "stream": (names.STREAM, true),
}


READ: Final = names_of(_SAMPLING)
"""Members of requests that are recorded in attributes, in all of Cohere's APIs."""
_READ: Final = READ | {"messages", "documents", "tools"}
_ANSWER: Final = frozenset({"id", "finish_reason", "message", "usage", "error", "logprobs"})


def sampling_attributes(body: Body) -> Attributes:
    """Return model, sampling and limits, which have the same names in all of Cohere's APIs."""
    return read(body, _SAMPLING)


class Chat:
    """Chat of the second version of the API."""

    operation = "chat"
    last_event: LastEvent | None = _LAST_EVENT

    def request_attributes(self, body: Body) -> Attributes:
        """Return model and parameters."""
        attributes = sampling_attributes(body)
        if "response_format" in body:
            kind = string(obj(body["response_format"]).get("type"))
            attributes[names.OUTPUT_TYPE] = _OUTPUT_TYPES.get(kind or "")
        return attributes

    def request_content(self, body: Body) -> Content:
        """Return messages and tools."""
        messages = [_input_message(message) for message in objects(body.get("messages"))]
        return {
            names.INPUT_MESSAGES: with_documents(messages, body.get("documents")),
            names.TOOL_DEFINITIONS: [tool_definition(tool) for tool in objects(body.get("tools"))],
            **parameters(body, _READ),
        }

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the message, its finish reason, and the usage. Cohere does not name the model that answered."""
        reason = finish_reason(body.get("finish_reason"))
        attributes: Attributes = {
            names.RESPONSE_ID: string(body.get("id")),
            names.FINISH_REASONS: [reason] if reason is not None else None,
            # Cohere's clients for AWS write the counts where the first version has them.
            **usage_attributes(body.get("usage") or body.get("meta")),
        }
        content: Content = {}
        if with_content:
            choice = {"message": _planned(obj(body.get("message"))), "finish_reason": reason}
            more = with_logprobs(beside(body, _ANSWER, COUNTED), [body])
            content = {names.OUTPUT_MESSAGES: output_messages([choice]), **more}
        return Answer(attributes=attributes, content=content, failure=failure_in(body, reason))

    def merged(self, events: Events) -> Body:
        """Return the events as one answer."""
        return merged_events(obj(event.data) for event in events.items)

    def is_output(self, event: Event) -> bool:
        """Return whether the event is the first event with a piece of the answer."""
        return string(obj(event.data).get("type")) in _OUTPUT

    def growing(self, event: Event) -> Place | None:
        """Return the text of a delta."""
        return growing_text(obj(event.data))


def with_documents(messages: list[Part], documents: Any) -> list[Part]:
    """Return the messages. The user's last one contains the documents that the model should use."""
    if found := told(items(documents)):
        asked = next((one for one in reversed(messages) if one["role"] == "user"), None)
        if asked is None:
            messages.append(asked := {"role": "user", "parts": []})
        asked["documents"] = [parts.decoded_arguments(one) for one in found]
    return messages


def failure_in(body: Body, reason: str | None) -> Failure | None:
    """Return the failure of a generation that broke off: its finish reason, and sometimes a message."""
    if reason != "error":
        return None
    return Failure(type="error", message=string(body.get("error")) or "the generation ended with an error")


def _planned(message: Object) -> Object:
    """Return the plan before tool calls as reasoning of the model."""
    plan = string(message.get("tool_plan"))
    if plan is None:
        return message
    return {**{name: value for name, value in message.items() if name != "tool_plan"}, "reasoning_content": plan}


def _input_message(message: Object) -> Part:
    found = input_message(_planned(message))
    if found["role"] == "tool":
        answer = found["parts"][0]
        answer["response"] = _tool_answer(answer["response"])
    return found


def _tool_answer(response: Any) -> Any:
    """Return a tool's results: the data of its documents."""
    if not isinstance(response, list):
        return response
    return [_found(piece) for piece in objects(response)]  # pyright: ignore[reportUnknownArgumentType]


def _found(piece: Object) -> Any:
    document = obj(piece.get("document"))
    data = parts.decoded_arguments(document.get("data", piece))
    if (members := obj(data)) and document.get("data") is not None:
        return with_rest({**members}, document, {"data"})  # its id, to which citations refer
    return data
