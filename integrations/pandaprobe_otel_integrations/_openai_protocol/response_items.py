"""The items of a response's input and output as messages in the conventions' form."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._parts import UNFINISHED, Part
from pandaprobe_otel_integrations._shape import Object, items, obj, objects, string

FINAL_STATUSES: Final = frozenset({"completed", "incomplete", "failed", "cancelled"})
_CALLS: Final = frozenset({"function_call", "custom_tool_call"})
# What a status means as a finish reason; an incomplete response says itself why.
_REASONS: Final = {"completed": "stop", "failed": "error", "cancelled": "cancelled"}
_WHY_INCOMPLETE: Final = {"max_output_tokens": "length", "max_tokens": "length"}


def input_messages(value: Any) -> list[Part]:
    """The `input` of a request: a text, or a list of messages and items."""
    if isinstance(value, str):
        return [{"role": "user", "parts": [parts.text(value)]}]
    found: list[Part] = []
    for item in items(value):
        read = {"role": "user", "content": item} if isinstance(item, str) else obj(item)
        if message := _input_message(read):
            _join(found, message)
    return found


def output_messages(response: Object, reason: str | None) -> list[Part]:
    """The `output` of a response: one message, since it is one turn of the model."""
    found: list[Part] = []
    for item in objects(response.get("output")):
        found += _output_parts(item)
    if not found:
        return []
    if reason is None:
        reason = UNFINISHED
    finish = "tool_call" if reason == "tool_calls" else reason
    return [{"role": "assistant", "parts": found, "finish_reason": finish}]


def finish_reason(response: Object) -> str | None:
    """Why the model stopped, in chat completions' words; None while it has not."""
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
        return {"role": role, "parts": _content(item.get("content"))}
    if kind in ("function_call_output", "custom_tool_call_output"):
        answer = parts.tool_response(id=string(item.get("call_id")), response=_tool_answer(item.get("output")))
        return {"role": "tool", "parts": [answer]}
    found = _output_parts(item)
    return {"role": "assistant", "parts": found} if found else None


def _join(messages: list[Part], message: Part) -> None:
    """Calls, thoughts and text that the app sends back item by item are one turn of the assistant."""
    if messages and message["role"] == "assistant" == messages[-1]["role"]:
        messages[-1]["parts"].extend(message["parts"])
    else:
        messages.append(message)


def _output_parts(item: Object) -> list[Part]:
    kind = string(item.get("type")) or ""
    if kind == "message":
        return _content(item.get("content"))
    if kind == "reasoning":
        return _thoughts(item)
    if kind in _CALLS:
        arguments = item.get("arguments") if kind == "function_call" else item.get("input")
        call_id = string(item.get("call_id")) or string(item.get("id"))
        return [parts.tool_call(id=call_id, name=string(item.get("name")), arguments=arguments)]
    if kind == "image_generation_call":
        data = string(item.get("result"))
        return [parts.base64_blob(data, "image", f"image/{item.get('output_format') or 'png'}")] if data else []
    if kind == "item_reference":
        return []
    return [_other_item(kind, item)]


def _other_item(kind: str, item: Object) -> Part:
    """Web search, code interpreter, MCP and what is yet to come: the provider made the call and used the result."""
    details = {key: value for key, value in item.items() if key not in ("id", "type", "name")}
    name = string(item.get("name")) or kind.removesuffix("_call")
    return parts.server_tool_call(id=string(item.get("id")), name=name, call={"type": kind, **details})


def _thoughts(item: Object) -> list[Part]:
    # Encrypted content is for the service alone. The summary repeats the content where there are both.
    texts = [string(piece.get("text")) for piece in objects(item.get("content"))]
    if not any(texts):
        texts = [string(piece.get("text")) for piece in objects(item.get("summary"))]
    return [parts.reasoning(found) for found in texts if found]


def _content(content: Any) -> list[Part]:
    if isinstance(content, str):
        return [parts.text(content)] if content else []
    return [part for piece in items(content) if (part := _content_part(piece)) is not None]


def _content_part(piece: Any) -> Part | None:
    if isinstance(piece, str):
        return parts.text(piece)
    found = obj(piece)
    kind = string(found.get("type")) or ""
    if kind in ("input_text", "output_text", "text", "summary_text"):
        return parts.text(str(found.get("text") or ""))
    if kind == "refusal":
        return parts.text(str(found.get("refusal") or ""))
    if kind == "input_image":
        return _referenced(found, "image", string(found.get("image_url")))
    if kind == "input_file":
        return _referenced(found, "document", string(found.get("file_url")) or string(found.get("file_data")))
    if kind in ("output_audio", "audio", "input_audio") and (heard := string(found.get("transcript"))):
        return parts.text(heard)
    if kind in ("output_audio", "audio"):
        return {"type": "blob", "modality": "audio"}
    if kind == "input_audio":
        audio = obj(found.get("input_audio")) or found
        return parts.base64_blob(str(audio.get("data") or ""), "audio", f"audio/{audio.get('format') or 'wav'}")
    return dict(found) if found else None


def _referenced(piece: Object, modality: str, address: str | None) -> Part:
    if address is None:
        return parts.file_reference(str(piece.get("file_id") or ""), modality)
    if ":" in address[:16]:
        return parts.media(address, modality)
    return parts.base64_blob(address, modality, None)


def _tool_answer(output: Any) -> Any:
    if not isinstance(output, (list, tuple)):
        return output
    found = _content(output)
    if all(part.get("type") == "text" for part in found):
        return "\n".join(str(part["content"]) for part in found)
    return found
