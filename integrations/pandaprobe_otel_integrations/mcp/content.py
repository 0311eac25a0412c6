"""Inputs and outputs of MCP's tools, prompts and resources, without the bytes of pictures, sound and files."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._json import from_json
from pandaprobe_otel_integrations._other_members import with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._shape import Object, items, obj, objects, string

_MEDIA: Final = frozenset({"image", "audio"})
_TEXT: Final = frozenset({"type", "text"})
_BYTES: Final = frozenset({"type", "data", "blob", "mime_type", "mimeType"})
_OF_PROTOCOL: Final = "io.modelcontextprotocol/"
_DEEPEST: Final = 100


def tool_result(result: Any) -> tuple[Any, bool]:
    """Return a tool's result, and whether it is marked as an error.

    The result is a text if it contains only text. A structured result is added unless the text repeats it.
    """
    found = obj(result)
    given = [_part(each) for each in objects(found.get("content"))]
    is_error = found.get("is_error") is True or found.get("isError") is True
    value: Any = given
    if given and all(part.keys() == {"type", "content"} for part in given):
        value = "\n".join(str(part["content"]) for part in given)
    structured = found.get("structured_content") or found.get("structuredContent")
    beside = {"_meta": meta} if (meta := _meta(found)) else {}
    if structured and not _says(given, structured):
        if not given and not beside:
            return structured, is_error
        beside["structured_content"] = structured
    return ({"content": value, **beside} if beside else value), is_error


def plain(value: Any, depth: int = 0) -> Any:
    """Return a request or an answer unchanged, with markers for bytes."""
    members = obj(value)
    if depth > _DEEPEST:
        return str(value)
    if members:
        if "blob" in members or members.get("type") in _MEDIA:
            return _part(members)
        return {str(key): plain(item, depth + 1) for key, item in members.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [plain(item, depth + 1) for item in items(value)]
    return value


def _meta(found: Object) -> dict[str, Any]:
    """Return the server's metadata of a result, without the protocol's own members."""
    meta = obj(found.get("meta") or found.get("_meta"))
    return {str(name): value for name, value in meta.items() if not str(name).startswith(_OF_PROTOCOL)}


def _says(given: list[Part], structured: Any) -> bool:
    """Return whether the texts repeat the structured result; for a list, each text is one item."""
    wrapped = structured.get("result", structured) if len(structured) == 1 else structured
    texts = [str(part.get("content")) for part in given]
    said = [_read(text) for text in texts]
    return wrapped in (texts, said) or structured in said or (len(given) == 1 and wrapped in (texts[0], said[0]))


def _read(text: str) -> Any:
    try:
        return from_json(text)
    except (ValueError, RecursionError):
        return text


def _part(content: Object) -> Part:
    kind = str(content.get("type"))
    if kind == "text":
        return with_rest(parts.text(str(content.get("text") or "")), content, _TEXT)
    if kind in _MEDIA:
        return with_rest(_bytes(content, "data", kind), content, _BYTES)
    if "blob" in content:
        return with_rest(_bytes(content, "blob", "document"), content, _BYTES)
    resource = obj(content.get("resource"))
    if "blob" in resource:
        found = with_rest(_bytes(resource, "blob", "document"), resource, _BYTES)
        return with_rest(found, content, frozenset({"type", "resource"}))
    return dict(content)


def _bytes(content: Object, name: str, kind: str) -> Part:
    mime_type = string(content.get("mime_type")) or string(content.get("mimeType"))
    return parts.base64_blob(str(content.get(name) or ""), kind, mime_type)
