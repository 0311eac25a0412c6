"""Content blocks of Anthropic's messages as parts in the conventions' form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._parts import UNFINISHED, Part
from pandaprobe_otel_integrations._shape import Object, obj, string


def system_parts(system: Any) -> list[Part]:
    """The system prompt, a text or a list of blocks."""
    return block_parts(system)


def input_messages(messages: Iterable[Object]) -> list[Part]:
    """Messages of a request. Results of tools, which stand in a user's message, are a message of their own."""
    found: list[Part] = []
    for message in messages:
        role = string(message.get("role")) or "user"
        content = message.get("content")
        if not isinstance(content, (list, tuple)):
            found.append({"role": role, "parts": block_parts(content)})
            continue
        results: list[Any] = []
        others: list[Any] = []
        for block in content:  # pyright: ignore[reportUnknownVariableType]
            (results if obj(block).get("type") == "tool_result" else others).append(block)
        if results:
            found.append({"role": "tool", "parts": block_parts(results)})
        rest = block_parts(others if results else content)
        if rest or not results:
            found.append({"role": role, "parts": rest})
    return found


def output_message(body: Object, reason: str | None) -> list[Part]:
    """The message of an answer; none when nothing of it has come."""
    found = block_parts(body.get("content"))
    if not found and reason is None:
        return []
    return [{"role": "assistant", "parts": found, "finish_reason": reason or UNFINISHED}]


def tool_definition(tool: Object) -> Part:
    """A tool: the app's own has a schema, Anthropic's are known by their type."""
    kind = string(tool.get("type"))
    found: Part = {
        "type": "function" if kind in (None, "custom") else kind,
        "name": string(tool.get("name")) or kind or "",
    }
    if tool.get("description") is not None:
        found["description"] = tool["description"]
    if tool.get("input_schema") is not None:
        found["parameters"] = tool["input_schema"]
    return found


def block_parts(content: Any) -> list[Part]:
    """Content: a text, or a list of blocks."""
    if isinstance(content, str):
        return [parts.text(content)] if content else []
    found: list[Part] = []
    if not isinstance(content, (list, tuple)):
        return found
    for block in content:  # pyright: ignore[reportUnknownVariableType]
        part = _part(block)
        if part is not None:
            found.append(part)
    return found


def _part(block: Any) -> Part | None:
    if isinstance(block, str):
        return parts.text(block)
    found: Object = block if block.__class__ is dict else obj(block)
    if found.get("type") == "text":
        return parts.text(str(found.get("text") or ""))
    kind = string(found.get("type")) or ""
    block_id = string(found.get("id"))
    if kind == "thinking":
        thought = string(found.get("thinking"))
        return parts.reasoning(thought) if thought else None
    if kind == "redacted_thinking":
        return None  # encrypted, for the service alone
    if kind == "tool_use":
        return parts.tool_call(id=block_id, name=string(found.get("name")), arguments=found.get("input"))
    if kind == "tool_result":
        response = tool_result(found.get("content"))
        return parts.tool_response(id=string(found.get("tool_use_id")), response=response)
    if kind in ("server_tool_use", "mcp_tool_use"):
        call = {"type": kind, "input": found.get("input")}
        return parts.server_tool_call(id=block_id, name=string(found.get("name")) or kind, call=call)
    if kind.endswith("_tool_result"):
        return _server_result(kind, found)
    if kind in ("image", "document"):
        return _media(kind, obj(found.get("source")), found)
    return dict(found) if found else None


def tool_result(content: Any) -> Any:
    """What a tool gave back: a text, also for blocks of text only, or the parts of its blocks."""
    if not isinstance(content, (list, tuple)):
        return content
    found = block_parts(content)
    if all(part.get("type") == "text" for part in found):
        return "\n".join(str(part["content"]) for part in found)
    return found


def _server_result(kind: str, block: Object) -> Part:
    return {
        "type": "server_tool_call_response",
        "id": string(block.get("tool_use_id")),
        "server_tool_call_response": {"type": kind, "content": block.get("content")},
    }


def _media(modality: str, source: Object, block: Object) -> Part:
    kind = source.get("type")
    if kind == "base64":
        return parts.base64_blob(str(source.get("data") or ""), modality, string(source.get("media_type")))
    if kind == "url":
        return parts.media(str(source.get("url") or ""), modality)
    if kind == "file":
        return parts.file_reference(str(source.get("file_id") or ""), modality)
    if kind == "text":
        return parts.text(str(source.get("data") or ""))
    return dict(block)
