"""Chat messages in the conventions' form: a role and a list of parts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._other_members import told, with_rest
from pandaprobe_otel_integrations._parts import UNFINISHED, Part
from pandaprobe_otel_integrations._shape import Object, items, obj, objects, string

_BESIDE_TEXT: Final = frozenset({"refusal", "audio", "tool_calls", "function_call", "images"})
"""Rare members of an assistant's message."""
_MESSAGE: Final = _BESIDE_TEXT | {
    "role",
    "content",
    "name",
    "tool_call_id",
    "reasoning_content",
    "reasoning",
    "thinking_blocks",
}
_ANSWER: Final = _MESSAGE | {"annotations"}
_CHOICE: Final = frozenset({"index", "message", "delta", "text", "finish_reason", "logprobs"})
_TOOL: Final = frozenset({"type", "name", "description", "parameters"})
_CALL: Final = frozenset({"id", "type", "index", "function", "custom"})
_FUNCTION: Final = frozenset({"name", "arguments"})
_CUSTOM: Final = frozenset({"name", "input"})
_TEXT: Final = frozenset({"type", "text"})
_REFUSAL: Final = frozenset({"type", "refusal"})
_THINKING: Final = frozenset({"type", "thinking", "signature"})
_IMAGE: Final = frozenset({"type", "image_url"})
_SOUND: Final = frozenset({"type", "input_audio"})
_FILE: Final = frozenset({"type", "file"})
"""Members that the reader of each part uses; all others stay beside the part, under their own names."""
_FINISH_REASONS: Final = {"tool_calls": "tool_call", "function_call": "tool_call"}


def input_message(message: Object) -> Part:
    """Return a message of a request."""
    role = string(message.get("role")) or "user"
    found: Part = {"role": "tool" if role == "function" else role, "parts": _input_parts(role, message)}
    if role != "function" and (name := string(message.get("name"))):
        found["name"] = name
    # Most have a role and a content.
    return with_rest(found, message, _MESSAGE) if len(message) > 2 and message.keys() - _MESSAGE else found


def output_messages(choices: Iterable[Object]) -> list[Part]:
    """Return the choices of an answer, without empty ones."""
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
    found: Part = {
        "role": string(message.get("role")) or "assistant",
        "parts": _assistant_parts(message),
        "finish_reason": _FINISH_REASONS.get(reason, reason) if reason else UNFINISHED,
    }
    if message.keys() - _ANSWER or message.get("annotations"):
        found = with_rest(found, message, _MESSAGE)
    return with_rest(found, choice, _CHOICE) if choice.keys() - _CHOICE else found


def tool_definition(tool: Object) -> Part:
    """Return a tool that the model may call: a function by its parameters, any other tool unchanged."""
    kind = string(tool.get("type")) or "function"
    described = obj(tool.get(kind)) or tool
    found: Part = {"type": kind, "name": string(described.get("name")) or kind}
    for key in ("description", "parameters"):
        if described.get(key) is not None:
            found[key] = described[key]
    if described.keys() - _TOOL:
        found = with_rest(found, described, _TOOL)
    return found if described is tool else with_rest(found, tool, {"type", kind})


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
    if not found and "thinking_blocks" in message:  # litellm's, if they do not repeat the fields above
        found += content_parts(message["thinking_blocks"])
    found += content_parts(message.get("content"))
    if not _BESIDE_TEXT.isdisjoint(message):
        found += _rest_of_text(message)
    return found


def _rest_of_text(message: Object) -> list[Part]:
    found: list[Part] = []
    if refusal := string(message.get("refusal")):
        found.append(parts.text(refusal))
    if audio := obj(message.get("audio")):
        found += _audio_answer(audio)
    found += [part for image in items(message.get("images")) if (part := _content_part(image)) is not None]
    found += [_tool_call(call) for call in objects(message.get("tool_calls"))]
    if function := obj(message.get("function_call")):
        name = string(function.get("name"))
        found.append(parts.tool_call(id=None, name=name, arguments=function.get("arguments")))
    return found


def content_parts(content: Any) -> list[Part]:
    """Return the content of a message: text, or a list of typed pieces."""
    if isinstance(content, str):
        return [parts.text(content)] if content else []
    return [part for item in items(content) if (part := _content_part(item)) is not None]


def _content_part(item: Any) -> Part | None:
    if isinstance(item, str):
        return parts.text(item)
    piece = obj(item)
    kind = string(piece.get("type"))
    if kind == "text":
        said = parts.text(str(piece.get("text") or ""))
        return said if len(piece) == 2 else with_rest(said, piece, _TEXT)
    if kind == "refusal":
        return with_rest(parts.text(str(piece.get("refusal") or "")), piece, _REFUSAL)
    if kind == "thinking":
        return with_rest(parts.reasoning(thinking_text(piece)), piece, _THINKING)
    if kind == "image_url":
        return _image(piece)
    if kind == "input_audio":
        audio = obj(piece.get("input_audio"))
        heard = parts.base64_blob(str(audio.get("data") or ""), "audio", f"audio/{audio.get('format') or 'wav'}")
        return with_rest(with_rest(heard, audio, {"data", "format"}), piece, _SOUND)
    if kind == "file":
        return with_rest(_file(obj(piece.get("file"))), piece, _FILE)
    return told(dict(piece)) if piece else None


def _image(piece: Object) -> Part:
    image: Any = piece.get("image_url")
    if isinstance(image, str):
        return with_rest(parts.media(image, "image"), piece, _IMAGE)
    found = parts.media(string(obj(image).get("url")) or "", "image")
    return with_rest(with_rest(found, obj(image), {"url"}), piece, _IMAGE)


def thinking_text(piece: Object) -> str:
    """Return the text of a thinking piece: a text, or (Mistral) a list of text pieces."""
    thought = piece.get("thinking")
    return thought if isinstance(thought, str) else "".join(str(one.get("text") or "") for one in objects(thought))


def _file(file: Object) -> Part:
    if file_id := string(file.get("file_id")):
        return with_rest(parts.file_reference(file_id, "document"), file, {"file_id"})
    data = str(file.get("file_data") or "")
    found = parts.media(data, "document") if ":" in data[:16] else parts.base64_blob(data, "document", None)
    return with_rest(found, file, {"file_data"})


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
    called = obj(call.get("function"))
    known, arguments = _FUNCTION, "arguments"
    if not called and (called := obj(call.get("custom"))):
        known, arguments = _CUSTOM, "input"
    found = parts.tool_call(id=string(call.get("id")), name=string(called.get("name")), arguments=called.get(arguments))
    if called.keys() - known:
        found = with_rest(found, called, known)
    return with_rest(found, call, _CALL) if call.keys() - _CALL else found


def _tool_answer(content: Any) -> Any:
    if not isinstance(content, (list, tuple)):
        return content
    return parts.text_or(content_parts(content))
