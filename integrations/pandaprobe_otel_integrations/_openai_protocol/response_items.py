"""The items of a response's input and output as messages in the conventions' form."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._other_members import RESPONSE, rest, told, with_rest
from pandaprobe_otel_integrations._parts import UNFINISHED, Part
from pandaprobe_otel_integrations._shape import Object, items, obj, objects, string

FINAL_STATUSES: Final = frozenset({"completed", "incomplete", "failed", "cancelled"})
_TEXTS: Final = frozenset({"input_text", "output_text", "text", "summary_text"})
_MESSAGE: Final = frozenset({"type", "id", "status", "role", "content"})
_OUTPUT: Final = frozenset({"type", "id", "status", "call_id", "output"})
_CALL: Final = frozenset({"type", "id", "status", "call_id", "name", "arguments", "input"})
_PICTURE: Final = frozenset({"type", "id", "status", "result", "output_format"})
_REASONING: Final = frozenset({"type", "id", "status", "content", "summary", "encrypted_content"})
_NAMED: Final = frozenset({"id", "type", "name"})
_TEXT: Final = frozenset({"type", "text", "logprobs"})
_SAID: Final = _TEXT | {"annotations"}
_REFUSAL: Final = frozenset({"type", "refusal"})
_IMAGE: Final = frozenset({"type", "image_url", "file_id"})
_FILE: Final = frozenset({"type", "file_url", "file_data", "file_id"})
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


def output_messages(response: Object, reason: str | None) -> list[Part]:
    """Return the `output` of a response as one message, because it is one turn of the model."""
    found: list[Part] = []
    for item in objects(response.get("output")):
        found += _output_parts(item)
    if not found:
        return []
    if reason is None:
        reason = UNFINISHED
    finish = "tool_call" if reason == "tool_calls" else reason
    return [{"role": "assistant", "parts": found, "finish_reason": finish}]


def with_items(content: Content, response: Object) -> Content:
    """Return values other than the messages, with the ids and states of the items that became parts of one message."""
    found = [
        {name: value for name in _STATES if (value := item.get(name))}
        for item in objects(response.get("output"))
        if string(item.get("type")) in _WITHOUT_ID and (item.get("id") or item.get("status"))
    ]
    if not found:
        return content
    beside = obj(obj(content.get(RESPONSE)).get("response"))
    return {RESPONSE: {"response": {**beside, "output": found}}}


def finish_reason(response: Object) -> str | None:
    """Return why the model stopped, in chat completions' words; None while it has not."""
    status = string(response.get("status"))
    if status == "incomplete":
        why = string(obj(response.get("incomplete_details")).get("reason")) or "incomplete"
        return _WHY_INCOMPLETE.get(why, why)
    if status == "completed" and any(string(item.get("type")) in _CALLS for item in objects(response.get("output"))):
        return "tool_calls"
    return _REASONS.get(status or "")


def _input_message(item: Object) -> Part | None:
    kind = string(item.get("type"))
    role = string(item.get("role"))
    if role is not None and kind in (None, "message"):
        return with_rest({"role": role, "parts": _content(item.get("content"))}, item, _MESSAGE)
    if kind in ("function_call_output", "custom_tool_call_output"):
        answer = parts.tool_response(id=string(item.get("call_id")), response=_tool_answer(item.get("output")))
        return {"role": "tool", "parts": [with_rest(answer, item, _OUTPUT)]}
    found = _output_parts(item)
    return {"role": "assistant", "parts": found} if found else None


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
    if kind in _CALLS:
        arguments = item.get("arguments") if kind == "function_call" else item.get("input")
        call_id = string(item.get("call_id")) or string(item.get("id"))
        call = parts.tool_call(id=call_id, name=string(item.get("name")), arguments=arguments)
        return [with_rest(call, item, _CALL)]
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
    return parts.server_tool_call(id=string(item.get("id")), name=name, call={"type": kind, **details})


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


def _content(content: Any) -> list[Part]:
    if isinstance(content, str):
        return [parts.text(content)] if content else []
    return [part for piece in items(content) if (part := _content_part(piece)) is not None]


def _content_part(piece: Any) -> Part | None:
    if isinstance(piece, str):
        return parts.text(piece)
    found = obj(piece)
    kind = string(found.get("type")) or ""
    if kind in _TEXTS:
        said = parts.text(str(found.get("text") or ""))
        return with_rest(said, found, _TEXT) if found.keys() - _SAID or found.get("annotations") else said
    if kind == "refusal":
        return with_rest(parts.text(str(found.get("refusal") or "")), found, _REFUSAL)
    if kind == "input_image":
        return with_rest(_referenced(found, "image", string(found.get("image_url"))), found, _IMAGE)
    if kind == "input_file":
        address = string(found.get("file_url")) or string(found.get("file_data"))
        return with_rest(_referenced(found, "document", address), found, _FILE)
    if kind in ("output_audio", "audio", "input_audio") and (heard := string(found.get("transcript"))):
        return parts.text(heard)
    if kind in ("output_audio", "audio"):
        return {"type": "blob", "modality": "audio"}
    if kind == "input_audio":
        audio = obj(found.get("input_audio")) or found
        return parts.base64_blob(str(audio.get("data") or ""), "audio", f"audio/{audio.get('format') or 'wav'}")
    return told(dict(found)) if found else None


def _referenced(piece: Object, modality: str, address: str | None) -> Part:
    if address is None:
        return parts.file_reference(str(piece.get("file_id") or ""), modality)
    if ":" in address[:16]:
        return parts.media(address, modality)
    return parts.base64_blob(address, modality, None)


def _tool_answer(output: Any) -> Any:
    return parts.text_or(_content(output)) if isinstance(output, (list, tuple)) else output
