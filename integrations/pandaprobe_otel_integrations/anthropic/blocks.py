"""Content blocks of Anthropic's messages as parts in the conventions' form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._other_members import sealed, told, with_rest
from pandaprobe_otel_integrations._parts import UNFINISHED, Part
from pandaprobe_otel_integrations._shape import Object, obj, string


def system_parts(system: Any) -> list[Part]:
    """Return the system prompt, a text or a list of blocks."""
    return block_parts(system)


def input_messages(messages: Iterable[Object]) -> list[Part]:
    """Return messages of a request. Tool results inside a user's message become a separate message."""
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
        if len(message) > 2 and message.keys() - _MESSAGE:
            found[-1] = with_rest(found[-1], message, _MESSAGE)
    return found


def output_message(body: Object, reason: str | None) -> list[Part]:
    """Return the message of an answer; none if nothing of it has arrived."""
    found = block_parts(body.get("content"))
    if not found and reason is None:
        return []
    return [{"role": "assistant", "parts": found, "finish_reason": reason or UNFINISHED}]


def tool_definition(tool: Object) -> Part:
    """Return a tool: the app's own by its schema, Anthropic's by its type."""
    kind = string(tool.get("type"))
    found: Part = {
        "type": "function" if kind in (None, "custom") else kind,
        "name": string(tool.get("name")) or kind or "",
    }
    if tool.get("description") is not None:
        found["description"] = tool["description"]
    if tool.get("input_schema") is not None:
        found["parameters"] = tool["input_schema"]
    return with_rest(found, tool, _TOOL) if tool.keys() - _TOOL else found


def block_parts(content: Any) -> list[Part]:
    """Return content: a text, or a list of blocks."""
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
        said = parts.text(str(found.get("text") or ""))
        return said if len(found) == 2 else with_rest(said, found, _TEXT)
    kind = string(found.get("type")) or ""
    reader = _READERS.get(kind)
    if reader is not None:
        return reader(found)
    if kind.endswith("_tool_result"):
        return _server_result(kind, found)
    return told(dict(found)) if found else None


def _thought(block: Object) -> Part | None:
    thought = string(block.get("thinking"))
    return with_rest(parts.reasoning(thought), block, _THINKING) if thought else None


def _sealed(block: Object) -> Part | None:
    data = string(block.get("data"))
    return parts.reasoning(sealed(data)) if data else None


def _call(block: Object) -> Part:
    call = parts.tool_call(id=string(block.get("id")), name=string(block.get("name")), arguments=block.get("input"))
    return with_rest(call, block, _CALL) if block.keys() - _CALL else call


def _result(block: Object) -> Part:
    response = tool_result(block.get("content"))
    found = parts.tool_response(id=string(block.get("tool_use_id")), response=response)
    return with_rest(found, block, _RESULT) if block.keys() - _RESULT else found


def _server_call(block: Object) -> Part:
    kind = str(block["type"])
    call = {"type": kind, "input": block.get("input")}
    found = parts.server_tool_call(id=string(block.get("id")), name=string(block.get("name")) or kind, call=call)
    return with_rest(found, block, _CALL)


def tool_result(content: Any) -> Any:
    """Return a tool's result: text if all blocks are text, otherwise the parts of its blocks."""
    return parts.text_or(block_parts(content)) if isinstance(content, (list, tuple)) else content


def _server_result(kind: str, block: Object) -> Part:
    found: Part = {
        "type": "server_tool_call_response",
        "id": string(block.get("tool_use_id")),
        "server_tool_call_response": {"type": kind, "content": told(block.get("content"))},
    }
    return with_rest(found, block, _RESULT)


def _medium(block: Object) -> Part:
    source = obj(block.get("source"))
    found = _source(str(block["type"]), source)
    if found is None:
        return {**told(dict(block))}
    return with_rest(with_rest(found, source, _SOURCE), block, _MEDIUM)


def _source(modality: str, source: Object) -> Part | None:
    kind = source.get("type")
    if kind == "base64":
        return parts.base64_blob(str(source.get("data") or ""), modality, string(source.get("media_type")))
    if kind == "url":
        return parts.media(str(source.get("url") or ""), modality)
    if kind == "file":
        return parts.file_reference(str(source.get("file_id") or ""), modality)
    return parts.text(str(source.get("data") or "")) if kind == "text" else None


_TOOL: Final = frozenset({"type", "name", "description", "input_schema"})
_MESSAGE: Final = frozenset({"role", "content"})
_TEXT: Final = frozenset({"type", "text"})
_THINKING: Final = frozenset({"type", "thinking", "signature"})
_CALL: Final = frozenset({"type", "id", "name", "input"})
_RESULT: Final = frozenset({"type", "tool_use_id", "content"})
_SOURCE: Final = frozenset({"type", "data", "url", "file_id", "media_type"})
_MEDIUM: Final = frozenset({"type", "source"})
"""Members that the reader of each block uses; all others stay beside the block, under their own names."""
_READERS: Final[Mapping[str, Callable[[Object], Part | None]]] = {
    "thinking": _thought,
    "redacted_thinking": _sealed,
    "tool_use": _call,
    "tool_result": _result,
    "server_tool_use": _server_call,
    "mcp_tool_use": _server_call,
    "image": _medium,
    "document": _medium,
}
