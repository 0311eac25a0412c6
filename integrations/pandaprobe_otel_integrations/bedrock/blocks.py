"""Content blocks of the Converse API as parts in the conventions' form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._other_members import rest, with_rest
from pandaprobe_otel_integrations._parts import UNFINISHED, Part
from pandaprobe_otel_integrations._shape import Object, items, obj, objects, string

_UNSAID: Final = frozenset({"cachePoint", "text", "image", "SDK_UNKNOWN_MEMBER"})
"""Cache marks, members without a value, and members that an old botocore does not know."""
_USE: Final = frozenset({"toolUseId", "name", "input"})
_RESULT: Final = frozenset({"toolUseId", "content"})
_MEDIUM: Final = frozenset({"source", "format"})
_TOOL: Final = frozenset({"name", "description", "inputSchema"})
"""Members that the reader of each block uses; all others stay beside the block, under their own names."""
_MEDIA: Final = ("image", "document", "video", "audio")


def input_messages(messages: Iterable[Object]) -> list[Part]:
    """Return messages of a request. Tool results inside a user's message become a separate message."""
    found: list[Part] = []
    for message in messages:
        results: list[Object] = []
        rest: list[Object] = []
        for block in objects(message.get("content")):
            (results if "toolResult" in block else rest).append(block)
        if results:
            found.append({"role": "tool", "parts": block_parts(results)})
        if rest or not results:
            found.append({"role": string(message.get("role")) or "user", "parts": block_parts(rest)})
    return found


def output_message(message: Object, reason: str | None) -> list[Part]:
    """Return the message of an answer; none if nothing of it has arrived."""
    found = block_parts(objects(message.get("content")))
    if not found and reason is None:
        return []
    return [{"role": "assistant", "parts": found, "finish_reason": reason or UNFINISHED}]


def tool_definitions(config: Any) -> list[Part]:
    """Return the tools that the model may call."""
    found: list[Part] = []
    for tool in objects(obj(config).get("tools")):
        declared = obj(tool.get("toolSpec"))
        if declared:
            part: Part = {"type": "function", "name": string(declared.get("name")) or ""}
            if declared.get("description") is not None:
                part["description"] = declared["description"]
            if (schema := obj(declared.get("inputSchema")).get("json")) is not None:
                part["parameters"] = schema
            found.append(with_rest(part, declared, _TOOL))
        elif system := obj(tool.get("systemTool")):
            found.append({"type": "system_tool", "name": string(system.get("name")) or "system_tool"})
    return found


def block_parts(blocks: Iterable[Object]) -> list[Part]:
    """Return the blocks that are not empty."""
    found: list[Part] = []
    for block in blocks:
        part = _part(block)
        if part is not None:
            found.append(part)
    return found


def _part(block: Object) -> Part | None:
    text = block.get("text")
    if isinstance(text, str):
        return parts.text(text) if len(block) == 1 else with_rest(parts.text(text), block, _UNSAID)
    if use := obj(block.get("toolUse")):
        call_input: Any = use.get("input")
        arguments: Any = parts.decoded_arguments(call_input) if call_input not in (None, "") else {}
        call = parts.tool_call(id=string(use.get("toolUseId")), name=string(use.get("name")), arguments=arguments)
        return with_rest(call, use, _USE)
    if result := obj(block.get("toolResult")):
        found = parts.tool_response(id=string(result.get("toolUseId")), response=_result(result.get("content")))
        return with_rest(found, result, _RESULT)
    if "reasoningContent" in block:
        thought = string(obj(obj(block["reasoningContent"]).get("reasoningText")).get("text"))
        return parts.reasoning(thought) if thought else None
    if guarded := obj(block.get("guardContent")):
        text = obj(guarded.get("text"))
        said = _part({"text": text.get("text"), "image": guarded.get("image")})
        return with_rest(said, text, {"text"}) if said is not None else None
    if cited := obj(block.get("citationsContent")):
        texts = [string(one.get("text")) for one in objects(cited.get("content"))]
        return with_rest(parts.text("".join(text for text in texts if text)), cited, {"content"})
    for kind in _MEDIA:
        if medium := obj(block.get(kind)):
            return _media(kind, medium)
    other = rest(block, _UNSAID)
    return {"type": next(iter(other)), **other} if other else None


def _result(content: Any) -> Any:
    found: list[Any] = [block["json"] if "json" in block else _part(block) for block in objects(content)]
    texts = [str(block["text"]) for block in objects(content) if "text" in block]
    if len(texts) == len(found):
        return "\n".join(texts)
    return found[0] if len(found) == 1 else found


def _media(kind: str, medium: Object) -> Part:
    return with_rest(_source(kind, medium), medium, _MEDIUM)


def _source(kind: str, medium: Object) -> Part:
    source = obj(medium.get("source"))
    form = string(medium.get("format"))
    mime_type = f"{kind}/{form}" if form is not None and kind != "document" else form
    data: Any = source.get("bytes")
    if isinstance(data, (bytes, bytearray)):
        return parts.blob(bytes(data), kind, mime_type)
    if isinstance(data, str):
        return parts.base64_blob(data, kind, mime_type)
    if uri := string(obj(source.get("s3Location")).get("uri")):
        return parts.media(uri, kind)
    if text := string(source.get("text")):
        return parts.text(text)
    texts = [string(one.get("text")) for one in objects(source.get("content"))]
    return parts.text("\n".join(text for text in texts if text)) if items(texts) else {"type": kind, "modality": kind}
