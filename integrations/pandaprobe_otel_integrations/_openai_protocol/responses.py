"""`POST /responses`, and `GET /responses/{id}`, which fetches a response again."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Final, NamedTuple

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import (
    ANSWERED,
    Answer,
    Attributes,
    Body,
    Endpoint,
    Failure,
    Fields,
    Partly,
    each,
    failure_in,
    inside,
    one_of,
)
from pandaprobe_otel_integrations._json import Content, Object, items, obj, objects, string
from pandaprobe_otel_integrations._logprobs import with_logprobs
from pandaprobe_otel_integrations._model_call import RecentIds
from pandaprobe_otel_integrations._openai_protocol.chat_messages import tool_definition
from pandaprobe_otel_integrations._openai_protocol.usage import (
    OPENAI,
    OUTPUT_TYPES,
    PARAMETERS,
    SAMPLING,
)
from pandaprobe_otel_integrations._other_members import pieces, reading, rest, told, with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._streams.body import LastEvent

# -- the items of a response's input and output as messages in the conventions' form -----------------------------------

FINAL_STATUSES: Final = frozenset({"completed", "incomplete", "failed", "cancelled"})
_TEXTS: Final = frozenset({"input_text", "output_text", "text", "summary_text"})
_MESSAGE: Final = frozenset({"type", "id", "status", "role", "content"})
_PICTURE: Final = frozenset({"type", "id", "status", "result", "output_format"})
_REASONING: Final = frozenset({"type", "id", "status", "content", "summary", "encrypted_content"})
_NAMED: Final = frozenset({"id", "type", "name"})
"""Members that the reader of each item uses; all others stay beside the item, under their own names."""
_CALLS: Final = frozenset({"function_call", "custom_tool_call"})
_STATES: Final = ("type", "id", "status")
_WITHOUT_ID: Final = _CALLS | {"message", "reasoning", "image_generation_call"}
"""Items whose parts have no place for an id."""
# The finish reason for a status; an incomplete response contains its own reason.
_REASONS: Final = {"completed": "stop", "failed": "error", "cancelled": "cancelled"}
_WHY_INCOMPLETE: Final = {"max_output_tokens": "length", "max_tokens": "length"}


def input_messages(value: Any) -> list[Part]:
    """Return the `input` of a request: a text, or a list of messages and items."""
    if isinstance(value, str):
        return [{"role": "user", "parts": [parts.text(value)]}]
    found: list[Part] = []
    for item in items(value):
        read = {"role": "user", "content": item} if isinstance(item, str) else obj(item)
        if message := _input_message(read):
            _join(found, message)
    return found


def with_items(found: dict[str, Any], response: Object) -> dict[str, Any]:
    """Return other data with the ids and states of the items that became parts of one message."""
    states = [
        {name: value for name in _STATES if (value := item.get(name))}
        for item in objects(response.get("output"))
        if string(item.get("type")) in _WITHOUT_ID and (item.get("id") or item.get("status"))
    ]
    return {**found, "output": states} if states else found


def _input_message(item: Object) -> Part | None:
    kind = string(item.get("type"))
    role = string(item.get("role"))
    if role is not None and kind in (None, "message"):
        return with_rest({"role": role, "parts": _content(item.get("content"))}, item, _MESSAGE)
    if kind in ("function_call_output", "custom_tool_call_output"):
        return {"role": "tool", "parts": [_RESULT(item)]}
    found = _output_parts(item)
    return {"role": "assistant", "parts": found} if found else None


def _result(call_id: Any, output: Any) -> Part:
    return parts.tool_response(call_id, _tool_answer(output))


def _call(call_id: Any, item_id: Any, name: Any, arguments: Any) -> Part:
    return parts.tool_call(string(call_id) or item_id, name, arguments)


_CALL_READERS: Final = {
    kind: reading(_call, "call_id", "id", "name", arguments, beside={*_STATES})
    for kind, arguments in (("function_call", "arguments"), ("custom_tool_call", "input"))
}
_RESULT: Final = reading(_result, "call_id", "output", beside={*_STATES})


def _join(messages: list[Part], message: Part) -> None:
    """Join calls, reasoning and text that the app sends back item by item into one turn of the assistant."""
    if messages and message["role"] == "assistant" == messages[-1]["role"]:
        messages[-1]["parts"].extend(message["parts"])
        for name, value in message.items():
            messages[-1].setdefault(name, value)
    else:
        messages.append(message)


def _output_parts(item: Object) -> list[Part]:
    kind = string(item.get("type")) or ""
    if kind == "message":
        said = _content(item.get("content"))
        if said and item.keys() - _MESSAGE:
            said[0] = with_rest(said[0], item, _MESSAGE)
        return said
    if kind == "reasoning":
        return _thoughts(item)
    if kind in _CALL_READERS:
        return [_CALL_READERS[kind](item)]
    if kind == "image_generation_call" and (data := string(item.get("result"))):
        picture = parts.base64_blob(data, "image", f"image/{item.get('output_format') or 'png'}")
        return [with_rest(picture, item, _PICTURE)]
    if kind == "item_reference":
        return [dict(item)]
    return [_other_item(kind, item)]


def _other_item(kind: str, item: Object) -> Part:
    """Return any other item, such as web search, code interpreter or MCP.

    The provider made the call and used the result.
    """
    details = rest(item, _NAMED)
    name = string(item.get("name")) or kind.removesuffix("_call")
    return parts.server_tool_call(id=item.get("id"), name=name, call={"type": kind, **details})


def _thoughts(item: Object) -> list[Part]:
    # Encrypted content is only for the service. The summary replaces missing texts; otherwise, it is kept beside the
    # first text.
    texts = [text for piece in objects(item.get("content")) if (text := string(piece.get("text")))]
    summary = [text for piece in objects(item.get("summary")) if (text := string(piece.get("text")))]
    found = [parts.reasoning(text) for text in texts or summary]
    if found:
        if texts and summary and texts != summary:
            found[0]["summary"] = summary
        found[0] = with_rest(found[0], item, _REASONING)
    return found


def _other_piece(kind: str, found: Object) -> Part | None:
    if kind in ("output_audio", "audio", "input_audio") and (heard := string(found.get("transcript"))):
        return parts.text(heard)
    if kind in ("output_audio", "audio"):
        return {"type": "blob", "modality": "audio"}
    if kind == "input_audio":
        audio = obj(found.get("input_audio")) or found
        return parts.base64_blob(str(audio.get("data") or ""), "audio", f"audio/{audio.get('format') or 'wav'}")
    return told(dict(found)) if found else None


def _referenced(modality: str, address: Any, file_id: Any) -> Part:
    if not string(address):
        return parts.file_reference(str(file_id or ""), modality)
    return parts.medium(address, modality)


def _file(url: Any, data: Any, file_id: Any) -> Part:
    return _referenced("document", string(url) or data, file_id)


_READERS: Final = {
    "refusal": reading(parts.text_of, "refusal"),
    "input_image": reading(partial(_referenced, "image"), "image_url", "file_id"),
    "input_file": reading(_file, "file_url", "file_data", "file_id"),
}
_content: Final = pieces(_READERS, _TEXTS, _other_piece, frozenset({"logprobs"}))


def _tool_answer(output: Any) -> Any:
    return parts.text_or(_content(output)) if isinstance(output, (list, tuple)) else output


# -- the events of a streamed response, merged -------------------------------------------------------------------------

_FINAL_EVENTS: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})


class _Place(NamedTuple):
    """The target of a delta: a member of an item, or of a part in one of its lists, at the index of the event."""

    item_type: str
    member: str
    group: str = ""
    part_type: str = ""


_DELTAS: Final = {
    "response.function_call_arguments.delta": _Place("function_call", "arguments"),
    "response.custom_tool_call_input.delta": _Place("custom_tool_call", "input"),
    "response.mcp_call_arguments.delta": _Place("mcp_call", "arguments"),
    "response.code_interpreter_call_code.delta": _Place("code_interpreter_call", "code"),
    "response.output_text.delta": _Place("message", "text", "content", "output_text"),
    "response.text.delta": _Place("message", "text", "content", "text"),
    "response.output_audio_transcript.delta": _Place("message", "transcript", "content", "output_audio"),
    "response.audio_transcript.delta": _Place("message", "transcript", "content", "audio"),
    "response.refusal.delta": _Place("message", "refusal", "content", "refusal"),
    "response.reasoning_text.delta": _Place("reasoning", "text", "content", "reasoning_text"),
    "response.reasoning_summary_text.delta": _Place("reasoning", "text", "summary", "summary_text"),
}


def _output(events: Iterable[Object]) -> list[dict[str, Any]]:
    """Return the items: each first as announced, then with its deltas, at last as the complete item."""
    found: dict[int, dict[str, Any]] = {}
    parts_at: dict[tuple[int, str, Any], dict[str, Any]] = {}
    for event in events:
        index: Any = event.get("output_index")
        kind = string(event.get("type")) or ""
        delta = event.get("delta")
        if not isinstance(index, int):
            continue
        if kind in ("response.output_item.added", "response.output_item.done"):
            found[index] = dict(obj(event.get("item")))
            parts_at = {key: part for key, part in parts_at.items() if key[0] != index}
            continue
        is_note = kind == "response.output_text.annotation.added"
        place = _DELTAS.get("response.output_text.delta" if is_note else kind)
        if place is None or not (is_note or isinstance(delta, str)):
            continue
        target = found.setdefault(index, {"type": place.item_type, "id": event.get("item_id")})
        if place.group:
            key = index, place.group, event.get(f"{place.group}_index")
            if key not in parts_at:
                parts_at[key] = {"type": place.part_type}
                target[place.group] = [*items(target.get(place.group)), parts_at[key]]
            target = parts_at[key]
        if is_note:
            target.setdefault("annotations", []).append(event.get("annotation"))
        elif isinstance(delta, str):
            target[place.member] = (target.get(place.member) or "") + delta
    return [item for _, item in sorted(found.items()) if item]


_FINAL: Final = rb"response\.(?:completed|failed|incomplete)"
LAST_EVENT: Final = LastEvent(
    hint=b'"response"',
    mark=re.compile(rb"(?:^|[\n\r])(?:event: ?" + _FINAL + rb"[\n\r]|data: ?\{\"type\": ?\"" + _FINAL + rb'")'),
)
_EMPTY: Final = ("object", "created", "created_at", "output", "incomplete_details")
ECHOES: Final = PARAMETERS.known | {
    "input", "instructions", "tools", "background", "include", "max_tool_calls", "metadata", "parallel_tool_calls",
    "previous_response_id", "prompt", "prompt_cache_key", "prompt_cache_retention", "reasoning", "safety_identifier",
    "store", "text", "tool_choice", "top_logprobs", "truncation", "user",
}  # fmt: skip
"""Members of an answer that repeat the request."""
_seen: Final = RecentIds[None]()
"""Responses whose end is already in a span."""
_OUTCOMES: Final = {"cancelled": ours.CANCELLED, "incomplete": ours.PARTIAL}
_GOING_ON: Final = ("queued", "in_progress")
_PREPARATIONS: Final = frozenset({"response.created", "response.queued", "response.in_progress"})


def _instructions(value: Any) -> list[Part]:
    if text := string(value):
        return [parts.text(text)]
    return [part for message in input_messages(value) for part in message["parts"]]


def _conversation(value: Any) -> str | None:
    return string(value) or string(obj(value).get("id"))


class Responses(Endpoint):
    """The Responses API: one new response."""

    operation = "chat"
    last_event: LastEvent | None = LAST_EVENT
    service = OPENAI
    constants = {names.API_TYPE: "responses"}
    request: ClassVar[Fields] = {
        **SAMPLING,
        "text": Partly(names.OUTPUT_TYPE, inside("format", "type", reader=one_of(OUTPUT_TYPES))),
        "reasoning": Partly(names.REASONING_LEVEL, inside("effort")),
        "previous_response_id": (names.PREVIOUS_RESPONSE_ID, string),
        "conversation": (names.CONVERSATION_ID, _conversation),
    }
    input = {
        "instructions": (names.SYSTEM_INSTRUCTIONS, _instructions),
        "input": (names.INPUT_MESSAGES, input_messages),
        "tools": (names.TOOL_DEFINITIONS, each(tool_definition)),
    }
    response: ClassVar[Fields] = {
        **ANSWERED,
        "service_tier": (names.RESPONSE_SERVICE_TIER, string),
        "conversation": (names.CONVERSATION_ID, _conversation),
        "status": (ours.OUTCOME, one_of(_OUTCOMES)),
    }
    empty = (*ECHOES, *_EMPTY)

    def finish_reason(self, choice: Object) -> str | None:
        """Return the reason by the status; None while the response is not over."""
        status = string(choice.get("status"))
        if status == "incomplete":
            why = string(obj(choice.get("incomplete_details")).get("reason")) or status
            return _WHY_INCOMPLETE.get(why, why)
        if status == "completed":
            for item in objects(choice.get("output")):
                if string(item.get("type")) in _CALLS:
                    return "tool_call"
        return _REASONS.get(status or "")

    def output_parts(self, choice: Object) -> list[Part] | None:
        """Return the output as one message, because it is one turn of the model; None if there is no output."""
        found: list[Part] = []
        for item in objects(choice.get("output")):
            found += _output_parts(item)
        return found or None

    def failure(self, body: Body) -> Failure | None:
        """Return the error, unless it is a mark of a response that did not fail."""
        status = string(body.get("status"))
        return failure_in(body.get("error")) if status == "failed" or status not in FINAL_STATUSES else None

    def goes_on(self, body: Body) -> str | None:
        """Return the id of a response in the background, and remember one that is over."""
        response_id = string(body.get("id"))
        if _is_over(body) and response_id is not None:
            _seen.keep(response_id, None)
        return response_id if body.get("status") in _GOING_ON else None

    def other_data(self, body: Body) -> dict[str, Any]:
        """Return the other data. The request has only the id of a stored prompt; the answer contains its text."""
        found = super().other_data(body)
        if body.get("prompt"):
            found |= rest({"instructions": body.get("instructions")}, frozenset())
        return with_logprobs(with_items(found, body), _texts(body), "logprobs")

    def merged(self, events: Iterable[Object]) -> Body:
        """Return the response of the final event. If it is missing or empty, return the merged deltas."""
        read = [*events]
        response: dict[str, Any] = {}
        for event in read:
            if carried := obj(event.get("response")):
                response.update(carried)
                if string(event.get("type")) in _FINAL_EVENTS:
                    break
            elif event.get("type") == "error":
                response["error"] = event.get("error") or dict(event)
        # Some services leave the output of the final response empty.
        return response if items(response.get("output")) else {**response, "output": _output(read)}

    def is_output(self, event: Object) -> bool:
        """Return whether the event is about output; the first events only announce the start of work."""
        kind = string(event.get("type"))
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
    empty = (*_EMPTY, "previous_response_id", "input", "instructions", "tools")

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
        is_first = self.is_news(body)
        answer = super().answer(body, with_content=with_content)
        answer.attributes[names.RESPONSE_STATUS] = string(body.get("status"))
        if not (is_first and body.get("background") is True):
            for name in [one for one in answer.attributes if one.startswith("gen_ai.usage.")]:
                del answer.attributes[name]
        content = {**self._input.read({**body, "input": None}), **answer.content} if with_content else {}
        return replace(answer, content=content)


def _texts(response: Body) -> list[Object]:
    return [piece for item in objects(response.get("output")) for piece in objects(item.get("content"))]


def _is_over(body: Body) -> bool:
    return string(body.get("status")) in FINAL_STATUSES
