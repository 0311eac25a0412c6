"""`POST /v1/chat`: one message with a history beside it, in its own format."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body
from pandaprobe_otel_integrations._json import Content, Object, items, obj, objects, string
from pandaprobe_otel_integrations._other_members import RESPONSE, parameters, uncounted, with_rest
from pandaprobe_otel_integrations._parts import UNFINISHED, Part
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.sse import Event, Events
from pandaprobe_otel_integrations._streams.text_runs import Place
from pandaprobe_otel_integrations.cohere.chat import COUNTED, finish_reason, usage_attributes

from .chat import READ, failure_in, sampling_attributes, with_documents

_READ: Final = READ | {
    "message", "preamble", "chat_history", "tool_results", "tools", "documents", "conversation_id",
}  # fmt: skip
_ANSWER: Final = frozenset(
    {"response_id", "text", "tool_calls", "finish_reason", "meta", "chat_history", "error", "is_finished"}
)
"""Members of an answer that are recorded. The history repeats the request. All others stay beside the answer."""
_EVENT: Final = frozenset({"event_type", "is_finished"})
_ROLES: Final = {"user": "user", "chatbot": "assistant", "system": "system", "tool": "tool"}


class ChatV1:
    """Chat of the first version of the API. Its streams are lines of JSON."""

    operation = "chat"
    last_event: LastEvent | None = None

    def request_attributes(self, body: Body) -> Attributes:
        """Return model and parameters."""
        return {**sampling_attributes(body), names.CONVERSATION_ID: string(body.get("conversation_id"))}

    def request_content(self, body: Body) -> Content:
        """Return preamble, history, the message, results of tools, and the tools."""
        preamble = string(body.get("preamble"))
        messages = [_past(message) for message in objects(body.get("chat_history"))]
        if results := objects(body.get("tool_results")):
            messages.append({"role": "tool", "parts": [_tool_result(result) for result in results]})
        if message := string(body.get("message")):
            messages.append({"role": "user", "parts": [parts.text(message)]})
        with_documents(messages, body.get("documents"))
        return {
            names.SYSTEM_INSTRUCTIONS: [parts.text(preamble)] if preamble is not None else [],
            names.INPUT_MESSAGES: messages,
            names.TOOL_DEFINITIONS: [_tool_definition(tool) for tool in objects(body.get("tools"))],
            **parameters(body, _READ),
        }

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return text, calls, finish reason and usage."""
        reason = finish_reason(body.get("finish_reason"))
        found = _member_text(body)
        if reason == "stop" and any(part["type"] == "tool_call" for part in found):
            reason = "tool_call"
        attributes: Attributes = {
            names.RESPONSE_ID: string(body.get("response_id")) or string(body.get("generation_id")),
            names.FINISH_REASONS: [reason] if reason is not None else None,
            **usage_attributes(body.get("meta")),
        }
        content: Content = {}
        if with_content and found:
            message: Part = {"role": "assistant", "parts": found, "finish_reason": reason or UNFINISHED}
            content = {names.OUTPUT_MESSAGES: [with_rest(message, body, _ANSWER)]}
            if more := uncounted(body.get("meta"), COUNTED):
                content = {**content, RESPONSE: {"response": {"usage": more}}}
        return Answer(attributes=attributes, content=content, failure=failure_in(body, reason))

    def merged(self, events: Events) -> Body:
        """Return the answer in the last event, or the merged pieces if it is missing."""
        merged: dict[str, Any] = {}
        text: list[str] = []
        for event in (obj(event.data) for event in events.items):
            kind = string(event.get("event_type"))
            if kind == "stream-end":
                answer = {"text": "".join(text), **merged, **obj(event.get("response"))}
                return {"meta": _metered(event), **answer, "finish_reason": event.get("finish_reason")}
            if kind == "citation-generation":
                merged["citations"] = [*items(merged.get("citations")), *items(event.get("citations"))]
            elif kind in ("search-queries-generation", "search-results"):
                merged.update({name: value for name, value in event.items() if name not in _EVENT})
            elif kind == "text-generation":
                text.append(string(event.get("text")) or "")
            elif kind == "tool-calls-generation":
                merged["tool_calls"] = event.get("tool_calls")
        return {**merged, "text": "".join(text)}

    def is_output(self, event: Event) -> bool:
        """Return whether the event is the first piece of text, or of a call."""
        kind = string(obj(event.data).get("event_type")) or ""
        return kind.startswith(("text-generation", "tool-calls"))

    def growing(self, event: Event) -> Place | None:
        """Return a piece of text."""
        data = obj(event.data)
        is_text = data.get("event_type") == "text-generation" and string(data.get("text")) is not None
        return ("text",) if is_text else None


def _metered(event: Object) -> Object:
    """Return Bedrock's counts, which come with the last event, in Cohere's form."""
    counts = obj(event.get("amazon-bedrock-invocationMetrics"))
    return {
        "billed_units": {
            "input_tokens": counts.get("inputTokenCount"),
            "output_tokens": counts.get("outputTokenCount"),
        }
    }


def _member_text(message: Object, member: str = "text") -> list[Part]:
    text = string(message.get(member))
    found = [parts.text(text)] if text is not None else []
    return found + [
        parts.tool_call(id=None, name=string(call.get("name")), arguments=call.get("parameters"))
        for call in objects(message.get("tool_calls"))
    ]


def _past(message: Object) -> Part:
    role = _ROLES.get((string(message.get("role")) or "user").lower(), "user")
    if role == "tool":
        return {"role": role, "parts": [_tool_result(result) for result in objects(message.get("tool_results"))]}
    return {"role": role, "parts": _member_text(message, "message")}


def _tool_result(result: Object) -> Part:
    return parts.tool_response(id=string(obj(result.get("call")).get("name")), response=items(result.get("outputs")))


def _tool_definition(tool: Object) -> Part:
    found: Part = {"type": "function", "name": string(tool.get("name")) or "function"}
    if description := string(tool.get("description")):
        found["description"] = description
    if parameters := obj(tool.get("parameter_definitions")):
        found["parameters"] = parameters
    return found
