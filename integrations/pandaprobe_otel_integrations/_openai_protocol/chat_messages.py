"""Chat messages in the conventions' form: a role and a list of parts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._parts import UNFINISHED, Part
from pandaprobe_otel_integrations._shape import Object, items, obj, objects, string

_BESIDE_TEXT: Final = frozenset({"refusal", "audio", "tool_calls", "function_call"})
"""What an assistant's message may have; most have none of it."""
_FINISH_REASONS: Final = {"tool_calls": "tool_call", "function_call": "tool_call"}


def input_message(message: Object) -> Part:
    """A message of a request."""
    role = string(message.get("role")) or "user"
    found: Part = {"role": "tool" if role == "function" else role, "parts": _input_parts(role, message)}
    if role != "function" and (name := string(message.get("name"))):
        found["name"] = name
    return found


def output_messages(choices: Iterable[Object]) -> list[Part]:
    """The choices of an answer; one of which nothing came yet is none."""
    found: list[Part] = []
    for choice in choices:
        message = _output_message(choice)
        if message["parts"] or message["finish_reason"] != UNFINISHED:
            found.append(message)
    return found


def _output_message(choice: Object) -> Part:
    message = obj(choice.get("message"))
    if not message and "text" in choice:
        message = {"content": choice.get("text")}
    reason = string(choice.get("finish_reason"))
    return {
        "role": string(message.get("role")) or "assistant",
        "parts": _assistant_parts(message),
        "finish_reason": _FINISH_REASONS.get(reason, reason) if reason else UNFINISHED,
    }


def tool_definition(tool: Object) -> Part:
    """A tool that the model may call; a function is described by its parameters, anything else as it is."""
    kind = string(tool.get("type")) or "function"
    described = obj(tool.get(kind)) or tool
    found: Part = {"type": kind, "name": string(described.get("name")) or kind}
    for key in ("description", "parameters"):
        if described.get(key) is not None:
            found[key] = described[key]
    return found


def _input_parts(role: str, message: Object) -> list[Part]:
    if role == "tool":
        answer = _tool_answer(message.get("content"))
        return [parts.tool_response(id=string(message.get("tool_call_id")), response=answer)]
    if role == "function":
        return [parts.tool_response(id=string(message.get("name")), response=_tool_answer(message.get("content")))]
    return _assistant_parts(message) if role == "assistant" else content_parts(message.get("content"))


def _assistant_parts(message: Object) -> list[Part]:
    found: list[Part] = []
    if "reasoning_content" in message or "reasoning" in message:
        thought = string(message.get("reasoning_content")) or string(message.get("reasoning"))
        if thought:
            found.append(parts.reasoning(thought))
    found += content_parts(message.get("content"))
    if not _BESIDE_TEXT.isdisjoint(message):
        found += _beside_text(message)
    return found


def _beside_text(message: Object) -> list[Part]:
    found: list[Part] = []
    if refusal := string(message.get("refusal")):
        found.append(parts.text(refusal))
    if audio := obj(message.get("audio")):
        found += _audio_answer(audio)
    found += [_tool_call(call) for call in objects(message.get("tool_calls"))]
    if function := obj(message.get("function_call")):
        name = string(function.get("name"))
        found.append(parts.tool_call(id=None, name=name, arguments=function.get("arguments")))
    return found


def content_parts(content: Any) -> list[Part]:
    """The content of a message: text, or a list of typed pieces."""
    if isinstance(content, str):
        return [parts.text(content)] if content else []
    return [part for item in items(content) if (part := _content_part(item)) is not None]


def _content_part(item: Any) -> Part | None:
    if isinstance(item, str):
        return parts.text(item)
    piece = obj(item)
    kind = string(piece.get("type"))
    if kind in ("text", "refusal"):
        return parts.text(str(piece.get(kind) or ""))
    if kind == "thinking":
        return parts.reasoning(thinking_text(piece))
    if kind == "image_url":
        image: Any = piece.get("image_url")
        url = image if isinstance(image, str) else string(obj(image).get("url"))
        return parts.media(url or "", "image")
    if kind == "input_audio":
        audio = obj(piece.get("input_audio"))
        return parts.base64_blob(str(audio.get("data") or ""), "audio", f"audio/{audio.get('format') or 'wav'}")
    if kind == "file":
        return _file(obj(piece.get("file")))
    return dict(piece) if piece else None


def thinking_text(piece: Object) -> str:
    """The text of a thinking piece: a text, or (Mistral) a list of text pieces."""
    thought = piece.get("thinking")
    return thought if isinstance(thought, str) else "".join(str(one.get("text") or "") for one in objects(thought))


def _file(file: Object) -> Part:
    if file_id := string(file.get("file_id")):
        return parts.file_reference(file_id, "document")
    data = str(file.get("file_data") or "")
    return parts.media(data, "document") if ":" in data[:16] else parts.base64_blob(data, "document", None)


def _audio_answer(audio: Object) -> list[Part]:
    found: list[Part] = []
    if transcript := string(audio.get("transcript")):
        found.append(parts.text(transcript))
    if data := string(audio.get("data")):
        found.append(parts.base64_blob(data, "audio", None))
    elif audio_id := string(audio.get("id")):
        found.append(parts.file_reference(audio_id, "audio"))
    return found


def _tool_call(call: Object) -> Part:
    function = obj(call.get("function"))
    custom = obj(call.get("custom"))
    if custom and not function:
        return parts.tool_call(
            id=string(call.get("id")), name=string(custom.get("name")), arguments=custom.get("input")
        )
    return parts.tool_call(
        id=string(call.get("id")), name=string(function.get("name")), arguments=function.get("arguments")
    )


def _tool_answer(content: Any) -> Any:
    if not isinstance(content, (list, tuple)):
        return content
    found = content_parts(content)
    if all(part.get("type") == "text" for part in found):
        return "\n".join(str(part["content"]) for part in found)
    return found
