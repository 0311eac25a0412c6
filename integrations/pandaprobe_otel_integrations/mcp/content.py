"""What MCP's tools are given and give, without the bytes of pictures and sound."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._shape import Object, obj, objects, string

_MEDIA: Final = frozenset({"image", "audio"})


def tool_result(result: Any) -> tuple[Any, bool]:
    """What a tool gave (a text when it is nothing but text), and whether it says that this is an error."""
    found = obj(result)
    given = [_part(each) for each in objects(found.get("content"))]
    is_error = found.get("is_error") is True or found.get("isError") is True
    if given and all(part.get("type") == "text" for part in given):
        return "\n".join(str(part["content"]) for part in given), is_error
    return given or _structured(found), is_error


def _structured(found: Object) -> Any:
    return found.get("structured_content") or found.get("structuredContent")


def _part(content: Object) -> Part:
    kind = str(content.get("type"))
    if kind == "text":
        return parts.text(str(content.get("text") or ""))
    mime_type = string(content.get("mime_type")) or string(content.get("mimeType"))
    if kind in _MEDIA:
        return parts.base64_blob(str(content.get("data") or ""), kind, mime_type)
    resource = obj(content.get("resource"))
    if "blob" in resource:
        blob = parts.base64_blob(str(resource["blob"]), "document", string(resource.get("mime_type")) or mime_type)
        return {**blob, "uri": resource.get("uri")}
    return dict(content)
