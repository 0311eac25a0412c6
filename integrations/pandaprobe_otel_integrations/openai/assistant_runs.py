"""Runs of the Assistants API: a stored assistant answers in a stored thread, at once in a stream, or later.

The service sums up all model calls of a run, so a run is one call here, with the assistant's model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body
from pandaprobe_otel_integrations._openai_protocol.body_errors import failure_in
from pandaprobe_otel_integrations._openai_protocol.chat import DONE
from pandaprobe_otel_integrations._openai_protocol.chat_messages import content_parts, tool_definition
from pandaprobe_otel_integrations._openai_protocol.parameters import LIMITS, SAMPLING, sampling_attributes
from pandaprobe_otel_integrations._openai_protocol.usage import COUNTED, usage_attributes
from pandaprobe_otel_integrations._other_members import beside, names_of, parameters, with_rest
from pandaprobe_otel_integrations._parts import UNFINISHED, Part
from pandaprobe_otel_integrations._seen_ids import SeenIds
from pandaprobe_otel_integrations._shape import Object, integer, items, obj, objects, string
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.sse import Event, Events

POSTED: Final = re.compile(r"/threads(?:/[^/?]+)?/runs(?:/[^/?]+/submit_tool_outputs)?/?(?:\?.*)?$")
FETCHED: Final = re.compile(r"/threads/[^/?]+/runs/[^/?]+/?(?:\?.*)?$")
_REASONS: Final = {
    "completed": "stop",
    "requires_action": "tool_calls",
    "failed": "error",
    "cancelled": "cancelled",
    "expired": "expired",
    "incomplete": "length",
}
"""The states in which a run stops, with their finish reasons."""
_READ: Final = names_of(
    SAMPLING,
    LIMITS,
    (
        "assistant_id",
        "thread",
        "additional_messages",
        "tool_outputs",
        "failed_at",
        "instructions",
        "additional_instructions",
        "tools",
    ),
)
_THREAD: Final = frozenset({"messages"})
_MESSAGE: Final = frozenset({"role", "content"})
_ANSWER: Final = frozenset(
    {
        "id", "object", "created_at", "assistant_id", "thread_id", "status", "model", "usage", "said",
        "required_action", "last_error", "error", "expires_at", "started_at", "completed_at", "cancelled_at",
        "failed_at",
    }
)  # fmt: skip
"""Members of a run that are recorded elsewhere, and times. Instructions and tools are the stored assistant's."""
_ENDED: Final = _REASONS.keys() - {"requires_action"}
_OUTCOMES: Final = {"cancelled": ours.CANCELLED, "expired": ours.TIMED_OUT, "incomplete": ours.PARTIAL}
_seen: Final = SeenIds()


class Runs:
    """A run that starts, or continues with the results of tools."""

    operation = "chat"
    last_event: LastEvent | None = DONE

    def request_attributes(self, body: Body) -> Attributes:
        """Return the assistant, and the settings that this run overrides."""
        limit = integer(body.get("max_completion_tokens"))
        return {
            **sampling_attributes(body),
            names.MAX_TOKENS: limit,
            names.AGENT_ID: string(body.get("assistant_id")),
            names.API_TYPE: "assistants",
        }

    def request_content(self, body: Body) -> Content:
        """Return messages in the request, results of tools, instructions and tools."""
        messages = [*objects(obj(body.get("thread")).get("messages")), *objects(body.get("additional_messages"))]
        results = [
            parts.tool_response(id=string(one.get("tool_call_id")), response=one.get("output"))
            for one in objects(body.get("tool_outputs"))
        ]
        told = [string(body.get("instructions")), string(body.get("additional_instructions"))]
        said: list[Part] = [_message(message) for message in messages]
        return {
            names.INPUT_MESSAGES: [*said, {"role": "tool", "parts": results}] if results else said,
            names.SYSTEM_INSTRUCTIONS: [parts.text(text) for text in told if text],
            names.TOOL_DEFINITIONS: [tool_definition(tool) for tool in objects(body.get("tools"))],
            **parameters(body, _READ, ("thread", _THREAD)),
        }

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the state of the run with the usage; for a stream, also its texts and calls."""
        reason = _REASONS.get(string(body.get("status")) or "")
        usage = usage_attributes(body.get("usage"))
        if names.INPUT_TOKENS in usage:
            _seen.is_first(string(body.get("id")))  # a later fetch must not count them again
        said = [*objects(body.get("said")), *_calls(body)]
        message = {"role": "assistant", "parts": said, "finish_reason": _reason_of(reason)}
        return Answer(
            attributes={
                **_state(body),
                **usage,
                names.RESPONSE_MODEL: string(body.get("model")),
                names.FINISH_REASONS: [reason] if reason is not None else None,
                ours.OUTCOME: _OUTCOMES.get(string(body.get("status")) or ""),
            },
            content={names.OUTPUT_MESSAGES: [message] if said else [], **beside(body, _ANSWER, COUNTED)}
            if with_content
            else {},
            failure=failure_in(body.get("last_error") or body.get("error")),
            goes_on=string(body.get("id")) if string(body.get("status")) not in _ENDED else None,
        )

    def merged(self, events: Events) -> Body:
        """Return the last state of the run, with the text of its messages."""
        read = [obj(event.data) for event in events.items]
        run = next((one for one in reversed(read) if one.get("object") == "thread.run"), obj(None))
        error = next((obj(event.data) for event in events.items if event.name == "error"), obj(None))
        return {**run, "said": _texts(read), "error": error.get("error") or error or None}

    def is_output(self, event: Event) -> bool:
        """Return whether the event is the first piece of a message or of a call."""
        return str(obj(event.data).get("object")).endswith(".delta")


class FetchedRun(Runs):
    """A request for an existing run.

    It is recorded once, when the run is over: apps poll many times, but the run costs once.
    """

    operation = "fetch_run"
    last_event: LastEvent | None = None

    def is_news(self, body: Body) -> bool:
        """Return whether the run is over and no stream or earlier call of this process has shown that."""
        status = string(body.get("status"))
        is_over = status in _ENDED or (status in _REASONS and bool(obj(body.get("usage"))))
        return is_over and _seen.is_first(string(body.get("id")))


def _state(run: Object) -> Attributes:
    return {
        names.RESPONSE_ID: string(run.get("id")),
        names.RESPONSE_STATUS: string(run.get("status")),
        names.CONVERSATION_ID: string(run.get("thread_id")),
        names.AGENT_ID: string(run.get("assistant_id")),
    }


def _message(message: Object) -> Part:
    found: Part = {"role": string(message.get("role")) or "user", "parts": content_parts(message.get("content"))}
    return with_rest(found, message, _MESSAGE)


def _calls(run: Object) -> list[Part]:
    wanted = objects(obj(obj(run.get("required_action")).get("submit_tool_outputs")).get("tool_calls"))
    asked = [(string(call.get("id")), obj(call.get("function"))) for call in wanted]
    return [
        parts.tool_call(id=call_id, name=string(call.get("name")), arguments=call.get("arguments"))
        for call_id, call in asked
    ]


def _reason_of(reason: str | None) -> str:
    return "tool_call" if reason == "tool_calls" else reason or UNFINISHED


def _texts(read: Iterable[Object]) -> list[Part]:
    """Return the text of each message: complete with citations if the stream has it, otherwise the text so far."""
    texts: dict[Any, str] = {}
    cited: dict[Any, list[Any]] = {}
    for one in read:
        if one.get("object") == "thread.message.delta":
            added = _text(obj(one.get("delta")))
            texts[one.get("id")] = texts.get(one.get("id"), "") + added
        elif one.get("object") == "thread.message" and (whole := _text(one)):
            texts[one.get("id")] = whole
            cited[one.get("id")] = _annotations(one)
    return [
        with_rest(parts.text(text), {"annotations": cited.get(message_id)}, frozenset())
        for message_id, text in texts.items()
        if text
    ]


def _annotations(message: Object) -> list[Any]:
    texts = [obj(piece.get("text")) for piece in objects(message.get("content"))]
    return [annotation for text in texts for annotation in items(text.get("annotations"))]


def _text(message: Object) -> str:
    pieces = [obj(piece.get("text")).get("value") for piece in objects(message.get("content"))]
    return "".join(string(piece) or "" for piece in pieces)
