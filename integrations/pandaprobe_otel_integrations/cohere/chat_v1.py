"""`POST /v1/chat`: one message with a history beside it, in its own format."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import Body, Endpoint, Failure, Partly, Service, each
from pandaprobe_otel_integrations._json import Object, items, obj, objects, string
from pandaprobe_otel_integrations._other_members import tool_part
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations.cohere.chat import COUNTED, usage_attributes

from .chat import SAMPLING, broken_off, with_documents

_EVENT: Final = frozenset({"event_type", "is_finished"})
_ROLES: Final = {"user": "user", "chatbot": "assistant", "system": "system", "tool": "tool"}


def _messages(history: Any, results: Any, message: Any, documents: Any) -> list[Part]:
    messages = [_past(one) for one in objects(history)]
    if given := objects(results):
        messages.append({"role": "tool", "parts": [_tool_result(result) for result in given]})
    if text := string(message):
        messages.append({"role": "user", "parts": [parts.text(text)]})
    return with_documents(messages, documents)


def _either(response_id: Any, generation_id: Any) -> str | None:
    return string(response_id) or string(generation_id)


def _tool_definition(tool: Object) -> Part:
    return tool_part(tool, "function", tool.get("name"), tool.get("parameter_definitions"), "parameter_definitions")


class ChatV1(Endpoint):
    """Chat of the first version of the API. Its streams are lines of JSON."""

    operation = "chat"
    service = Service(usage=usage_attributes, counted=COUNTED, member="meta")
    request = {**SAMPLING, "conversation_id": (names.CONVERSATION_ID, string)}
    input = {
        "preamble": (names.SYSTEM_INSTRUCTIONS, parts.texts),
        ("chat_history", "tool_results", "message", "documents"): (names.INPUT_MESSAGES, _messages),
        "tools": (names.TOOL_DEFINITIONS, each(_tool_definition)),
    }
    response = {("response_id", "generation_id"): Partly(names.RESPONSE_ID, _either)}
    reason = "finish_reason"
    empty = ("response_id", "text", "tool_calls", "chat_history", "is_finished")

    def finish_reason(self, choice: Object) -> str | None:
        """Return the reason in the conventions' words."""
        reason = super().finish_reason(choice)
        return "tool_call" if reason == "stop" and objects(choice.get("tool_calls")) else reason

    def failure(self, body: Body) -> Failure | None:
        """Return the failure of a generation that broke off."""
        return broken_off(body) or super().failure(body)

    def output_parts(self, choice: Object) -> list[Part]:
        """Return text and calls."""
        return _member_text(choice)

    def merged(self, events: Iterable[Object]) -> Body:
        """Return the answer in the last event, or the merged pieces if it is missing."""
        merged: dict[str, Any] = {}
        text: list[str] = []
        for event in events:
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

    def is_output(self, event: Object) -> bool:
        """Return whether the event is a piece of text, or of a call."""
        kind = string(event.get("event_type")) or ""
        return kind.startswith(("text-generation", "tool-calls"))


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
        parts.tool_call(id=None, name=call.get("name"), arguments=call.get("parameters"))
        for call in objects(message.get("tool_calls"))
    ]


def _past(message: Object) -> Part:
    role = _ROLES.get((string(message.get("role")) or "user").lower(), "user")
    if role == "tool":
        return {"role": role, "parts": [_tool_result(result) for result in objects(message.get("tool_results"))]}
    return {"role": role, "parts": _member_text(message, "message")}


def _tool_result(result: Object) -> Part:
    return parts.tool_response(id=string(obj(result.get("call")).get("name")), response=items(result.get("outputs")))
