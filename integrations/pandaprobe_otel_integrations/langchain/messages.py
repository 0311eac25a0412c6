"""LangChain's messages, documents and states as plain values, without importing the library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from typing import Any, Final, cast

from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._other_members import is_empty, rest, told, with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._shape import Object, items, obj, objects, string

_ROLES: Final = {"human": "user", "ai": "assistant", "function": "tool", "AIMessageChunk": "assistant"}
_SHORT_ROLES: Final = frozenset({"user", "human", "assistant", "ai", "system", "developer"})
_MEDIA: Final = frozenset({"image", "audio", "video", "file"})
_TEXT: Final = frozenset({"type", "text", "index"})
_REASONING: Final = frozenset({"type", "reasoning", "thinking", "summary", "index", "signature", "encrypted_content"})
_CALL: Final = frozenset(
    {"type", "id", "call_id", "name", "args", "input", "arguments", "index", "partial_json", "status"}
)
_IMAGE: Final = frozenset({"type", "image_url", "index"})
_ADDRESS: Final = frozenset({"url"})
_FILE: Final = frozenset(
    {"type", "base64", "data", "source", "source_type", "mime_type", "file_id", "id", "url", "index"}
)
"""Members that the reader of each kind of block uses."""
_BESIDE: Final = frozenset({"tool_calls", "function_call", "reasoning_content"})
"""Keys beside a message that repeat it, or that are read elsewhere."""
NOT_FOR_THE_MODEL: Final = "[not for the model: the tool's span has it]"
"""Placeholder for an artifact in a model's input. An artifact may be large, and is part of each later call."""
_MAX_DEPTH: Final = 8
"""Depth of a state below which values are written as text."""


def is_message(value: Any) -> bool:
    """Return whether this is a LangChain message, by properties that every version has."""
    return (
        hasattr(value, "content")
        and isinstance(getattr(value, "type", None), str)
        and hasattr(value, "additional_kwargs")
    )


def role_of(message: Any) -> str:
    """Return the message's role by the conventions' names."""
    kind: str = message.type
    if kind == "chat":
        return string(getattr(message, "role", None)) or "user"
    return _ROLES.get(kind) or _ROLES.get(type(message).__name__) or kind


def conversation(messages: Iterable[Any]) -> list[Part]:
    """Return messages in the conventions' form: a role, parts, and data that accompanies them."""
    return [{"role": role_of(message), "parts": message_parts(message), **beside(message)} for message in messages]


def beside(message: Any) -> dict[str, Any]:
    """Return values of a message beside its content: its author, and the data of its provider's package."""
    name = string(getattr(message, "name", None))
    found = {"name": name} if name else {}
    more = getattr(message, "additional_kwargs", None)
    return {**rest(obj(more), _BESIDE), **found} if more else found


def _outcome(message: Any, artifact: Any = NOT_FOR_THE_MODEL) -> dict[str, Any]:
    """Return, for a tool's message, whether the tool failed, and its artifact for the app."""
    found: dict[str, Any] = {"is_error": True} if getattr(message, "status", None) == "error" else {}
    return found if is_empty(getattr(message, "artifact", None)) else {**found, "artifact": artifact}


def message_parts(message: Any) -> list[Part]:
    """Return the parts of one message, its tool calls included."""
    if role_of(message) == "tool":
        response = plain(message.content)
        call_id = string(getattr(message, "tool_call_id", None))
        return [{**parts.tool_response(id=call_id, response=response), **_outcome(message)}]
    found = [part for block in _blocks(message.content) if (part := _part(block)) is not None]
    if thought := _separate_thought(message):
        found.insert(0, parts.reasoning(thought))
    known = {part.get("id") for part in found if part["type"] == "tool_call"}
    found.extend(
        parts.tool_call(id=string(call.get("id")), name=string(call.get("name")), arguments=call.get("args"))
        for call in _calls(message)
        if call.get("id") not in known
    )
    return found


def chat_message(message: Any) -> dict[str, Any]:
    """Return one message in the form of chat completions, for the states that chains pass on."""
    found: dict[str, Any] = {"role": role_of(message), "content": _content(message.content)}
    found |= beside(message)
    if found["role"] == "tool":
        found |= _outcome(message, plain(getattr(message, "artifact", None)))
    if thought := _separate_thought(message):
        found["reasoning_content"] = thought
    if call_id := string(getattr(message, "tool_call_id", None)):
        found["tool_call_id"] = call_id
    if calls := _calls(message):
        found["tool_calls"] = [
            {
                "id": call.get("id"),
                "type": "function",
                "function": {"name": call.get("name"), "arguments": call.get("args")},
            }
            for call in calls
        ]
    return found


def plain(value: Any, depth: int = 0) -> Any:
    """Return any value that chains pass on, in a JSON form: messages as chat messages, documents, commands, states."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if depth > _MAX_DEPTH:
        return _text(value)
    if isinstance(value, dict):
        return {str(key): plain(item, depth + 1) for key, item in obj(value).items()}  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, tuple) and (pair := _message_in_short(items(value))) is not None:
        return pair
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item, depth + 1) for item in cast("Iterable[Any]", value)]
    if is_message(value):  # before the check for mappings, which is slow for other values
        return chat_message(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item, depth + 1) for key, item in obj(value).items()}
    return _plain_object(value, depth)


def _message_in_short(value: list[Any]) -> dict[str, Any] | None:
    """Return the message for a pair of a role and a text, as in `("user", "Hi")`."""
    if len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], str) and value[0] in _SHORT_ROLES:
        return {"role": _ROLES.get(value[0], value[0]), "content": value[1]}
    return None


def document(value: Any) -> dict[str, Any]:
    """Return a retrieved document."""
    found: dict[str, Any] = {
        "content": getattr(value, "page_content", None),
        "metadata": plain(getattr(value, "metadata", None)),
    }
    for name in ("id", "score"):
        if (own := getattr(value, name, None)) is not None:
            found[name] = own
    return found


def interrupts(error: BaseException) -> list[Any]:
    """Return the questions of a graph that interrupts itself: the values in the interrupts of its exception."""
    given: Any = error.args[0] if error.args else ()
    return [plain(getattr(one, "value", one)) for one in items(given)]


def _plain_object(value: Any, depth: int) -> Any:
    if hasattr(value, "page_content"):
        return document(value)
    if hasattr(value, "to_messages"):  # a prompt's value
        return {"messages": [chat_message(message) for message in value.to_messages()]}
    if hasattr(value, "update") and hasattr(value, "goto"):  # langgraph.types.Command
        told = {name: getattr(value, name) for name in ("update", "resume", "goto", "graph")}
        return {name: plain(one, depth + 1) for name, one in told.items() if one not in (None, (), [])}
    if hasattr(value, "node") and hasattr(value, "arg"):  # langgraph.types.Send
        return {"node": value.node, "arg": plain(value.arg, depth + 1)}
    if hasattr(value, "interrupts") or (hasattr(value, "value") and hasattr(value, "id")):
        return plain(getattr(value, "value", None), depth + 1)
    fields = obj(value) or _fields(value)
    return plain(fields, depth + 1) if fields else _text(value)


def _fields(value: Any) -> Object:
    return obj(vars(value)) if is_dataclass(value) and hasattr(value, "__dict__") else {}


def _text(value: Any) -> str:
    # The address in the default `repr` is useless, and makes equal runs differ.
    text = str(value)
    return f"<{type(value).__name__}>" if " at 0x" in text else text


def _separate_thought(message: Any) -> str | None:
    """Return the reasoning that DeepSeek's package and others put beside a message."""
    more = getattr(message, "additional_kwargs", None)
    return string(obj(more).get("reasoning_content")) if more else None


def _calls(message: Any) -> list[Object]:
    return [*objects(getattr(message, "tool_calls", None)), *objects(getattr(message, "invalid_tool_calls", None))]


def _blocks(content: Any) -> list[Any]:
    if isinstance(content, str):
        return [content] if content else []
    return items(content)


def _content(content: Any) -> Any:
    """Return content of a chat message: its text if it has nothing else. Tool calls are beside it."""
    if isinstance(content, str):
        return content
    found = [part for block in items(content) if (part := _part(block)) is not None and part["type"] != "tool_call"]
    if all(part["type"] == "text" and len(part) == 2 for part in found):
        return "".join(str(part["content"]) for part in found)
    return found


def _part(block: Any) -> Part | None:
    """Return a content block in LangChain's own form, OpenAI's or Anthropic's."""
    if isinstance(block, str):
        return parts.text(block)
    found = obj(block)
    kind = string(found.get("type")) or ""
    if kind in ("text", "input_text", "output_text"):
        return with_rest(parts.text(str(found.get("text") or "")), found, _TEXT)
    if kind in ("reasoning", "thinking"):
        thought = string(found.get(kind)) or _summary(found)
        return with_rest(parts.reasoning(thought), found, _REASONING) if thought else None
    if kind in ("tool_call", "tool_use", "function_call"):
        arguments = next((found[key] for key in ("args", "input", "arguments") if key in found), None)
        call_id = string(found.get("call_id")) or string(found.get("id"))
        call = parts.tool_call(id=call_id, name=string(found.get("name")), arguments=arguments)
        return with_rest(call, found, _CALL)
    if kind in ("tool_call_chunk", "input_json_delta", "redacted_thinking"):
        return None  # pieces of calls that are complete beside the content, and data only for the service
    if kind == "image_url":
        image = obj(found.get("image_url"))
        picture = parts.media(str(image.get("url") or found.get("image_url") or ""), "image")
        return with_rest(with_rest(picture, image, _ADDRESS), found, _IMAGE)
    if kind in _MEDIA:
        return with_rest(_media(kind, found), found, _FILE)
    return {"type": kind or "unknown", **told({key: item for key, item in found.items() if key != "type"})}


def _summary(block: Object) -> str:
    return "\n".join(str(part.get("text") or "") for part in objects(block.get("summary")))


def _media(kind: str, block: Object) -> Part:
    source = obj(block.get("source"))
    data = next((value for value in (block.get("base64"), block.get("data"), source.get("data")) if value), None)
    mime_type = string(block.get("mime_type")) or string(source.get("media_type"))
    if data is not None:
        return parts.base64_blob(str(data), kind, mime_type)
    if file_id := string(block.get("file_id")) or string(block.get("id")):
        return parts.file_reference(file_id, kind, mime_type)
    return parts.media(str(block.get("url") or source.get("url") or ""), kind)
