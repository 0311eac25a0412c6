"""`POST /conversations`: a model or an agent answers, and the service keeps the conversation.

The service may call its own tools and hand over to other agents before it answers. All this is one request, one answer,
and one sum of tokens.
"""

from __future__ import annotations

import re
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body, Failure
from pandaprobe_otel_integrations._openai_protocol.chat_messages import content_parts, tool_definition
from pandaprobe_otel_integrations._openai_protocol.other_services import without_openai
from pandaprobe_otel_integrations._openai_protocol.parameters import LIMITS, SAMPLING, sampling_attributes
from pandaprobe_otel_integrations._openai_protocol.usage import COUNTED, usage_attributes
from pandaprobe_otel_integrations._other_members import beside, names_of, parameters, rest, with_rest
from pandaprobe_otel_integrations._parts import UNFINISHED, Part
from pandaprobe_otel_integrations._shape import Object, integer, items, obj, objects, string
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.sse import Event, Events

from .conversation_stream import merged_events

PATH: Final = re.compile(r"/conversations(?:/[^/]+(?:/restart)?)?$")
_LAST_EVENT: Final = LastEvent(
    hint=b"conversation.response.",
    mark=re.compile(rb"(?:^|[\n\r])event: ?conversation\.response\.(?:done|error)[\n\r]"),
)


_READ: Final = frozenset({"model", "agent_id", "stream", "inputs", "instructions", "tools", "completion_args"})
_OPTIONS: Final = names_of(SAMPLING, LIMITS, ("random_seed",)) - {"service_tier"}
_ANSWER: Final = frozenset({"object", "conversation_id", "outputs", "usage", "error"})
_ENTRY: Final = frozenset({"type", "object", "id", "created_at", "completed_at", "model"})
_MESSAGE: Final = _ENTRY | {"role", "content"}
_RESULT: Final = _ENTRY | {"tool_call_id", "result"}
_CALL: Final = _ENTRY | {"tool_call_id", "name", "arguments"}
_NAMED: Final = frozenset({"id", "name", "object"})
"""Members that the reader of each entry uses; all others stay beside it, under their own names."""


class Conversations:
    """A conversation that is started, continued or resumed at an earlier place."""

    operation = "chat"
    last_event: LastEvent | None = _LAST_EVENT

    def request_attributes(self, body: Body) -> Attributes:
        """Return model or agent, and parameters."""
        options = obj(body.get("completion_args"))
        return {
            **without_openai(sampling_attributes({**options, "stream": body.get("stream")})),
            names.REQUEST_MODEL: string(body.get("model")),
            names.SEED: integer(options.get("random_seed")),
            names.AGENT_ID: string(body.get("agent_id")),
        }

    def request_content(self, body: Body) -> Content:
        """Return instructions, inputs and tools."""
        inputs, instructions = body.get("inputs"), string(body.get("instructions"))
        entries: list[Any] = [{"content": inputs}] if isinstance(inputs, str) else items(inputs)
        return {
            names.SYSTEM_INSTRUCTIONS: [parts.text(instructions)] if instructions is not None else [],
            names.INPUT_MESSAGES: [_input_message(obj(entry)) for entry in entries],
            names.TOOL_DEFINITIONS: [tool_definition(tool) for tool in objects(body.get("tools"))],
            **parameters(body, _READ, ("completion_args", _OPTIONS)),
        }

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the texts and calls, and the usage."""
        outputs = objects(body.get("outputs"))
        found = [part for entry in outputs for part in _output_parts(entry)]
        reason = _finish_reason(body, found)
        attributes: Attributes = {
            names.CONVERSATION_ID: string(body.get("conversation_id")),
            names.RESPONSE_MODEL: next((string(entry.get("model")) for entry in outputs if entry.get("model")), None),
            names.FINISH_REASONS: [reason] if reason is not None else None,
            **usage_attributes(body.get("usage")),
        }
        content: Content = {}
        if with_content and found:
            message = {"role": "assistant", "parts": found, "finish_reason": reason or UNFINISHED}
            content = {names.OUTPUT_MESSAGES: [message]}
        if with_content:
            content = {**content, **beside(body, _ANSWER, COUNTED)}
        return Answer(attributes=attributes, content=content, failure=_failure(body))

    def merged(self, events: Events) -> Body:
        """Return the events as one answer."""
        return merged_events(obj(event.data) for event in events.items)

    def is_output(self, event: Event) -> bool:
        """Return whether the event is the first event after the announcement."""
        kind = string(obj(event.data).get("type")) or event.name or ""
        return not kind.startswith("conversation.")


def _finish_reason(body: Body, found: list[Part]) -> str | None:
    """Return a finish reason, because Mistral sends none.

    A complete answer has its usage, and may end with tool calls.
    """
    if not body.get("usage"):
        return None
    return "tool_call" if any(part.get("type") == "tool_call" for part in found) else "stop"


def _failure(body: Body) -> Failure | None:
    error = obj(body.get("error"))
    if not error:
        return None
    return Failure(type=str(error.get("code") or "error"), message=string(error.get("message")) or "error")


def _input_message(entry: Object) -> Part:
    kind = string(entry.get("type")) or "message.input"
    if kind == "function.result":
        result = parts.tool_response(id=string(entry.get("tool_call_id")), response=entry.get("result"))
        return {"role": "tool", "parts": [with_rest(result, entry, _RESULT)]}
    if kind == "message.input":
        found: Part = {"role": string(entry.get("role")) or "user", "parts": content_parts(entry.get("content"))}
        return with_rest(found, entry, _MESSAGE)
    return {"role": "assistant", "parts": _output_parts(entry)}


def _output_parts(entry: Object) -> list[Part]:
    kind = string(entry.get("type")) or "message.output"
    if kind == "message.output":
        said = content_parts(entry.get("content"))
        if said and entry.keys() - _MESSAGE:
            said[0] = with_rest(said[0], entry, _MESSAGE)
        return said
    name = string(entry.get("name"))
    if kind == "function.call":
        call_id = string(entry.get("tool_call_id"))
        call = parts.tool_call(id=call_id, name=name, arguments=entry.get("arguments"))
        return [with_rest(call, entry, _CALL)]
    details = rest(entry, _NAMED)
    return [parts.server_tool_call(id=string(entry.get("id")), name=name or kind, call=details)]
