"""Inputs and outputs of AG2's agents and tools: texts, data, addresses, bytes and files."""

from __future__ import annotations

from typing import Any

from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._json import to_json
from pandaprobe_otel_integrations._other_members import told
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._shape import obj, string


def input_part(given: Any) -> Part:
    """Return an input as a part of a message, with the app's data about it; bytes are shown by their digest."""
    return {**_part(given), **_rest(given)}


def input_value(given: Any) -> Any:
    """Return an input of a tool as a plain value if possible, otherwise as a part of a message."""
    if _rest(given):
        return input_part(given)
    for name in ("content", "data", "url"):
        found = getattr(given, name, None)
        if found is not None and not isinstance(found, bytes):
            return found
    return _part(given)


def file_part(made: Any) -> Part:
    """Return a file that a model made."""
    data: Any = getattr(made, "data", None)
    if not isinstance(data, bytes):
        return {"type": "file", **_members(made)}
    kind = string(getattr(made, "media_type", None))
    found = parts.blob(data, (kind or "image").partition("/")[0], kind)
    metadata = obj(getattr(made, "metadata", None))
    return {**found, "metadata": told(dict(metadata))} if metadata else found


def _part(given: Any) -> Part:
    text, data, url = (getattr(given, name, None) for name in ("content", "data", "url"))
    kind = str(getattr(getattr(given, "kind", None), "value", "file"))
    if isinstance(text, str):
        return parts.text(text)
    if isinstance(data, bytes):
        return parts.blob(data, kind, string(getattr(given, "media_type", None)))
    if isinstance(url, str):
        return parts.media(url, kind)
    if data is not None:
        return parts.text(data if isinstance(data, str) else to_json(data))
    return {"type": kind, **_members(given)}


def _members(given: Any) -> dict[str, Any]:
    members = obj(getattr(given, "__dict__", None))
    return {name: told(value, name) for name, value in members.items() if value and not name.startswith("_")}


def _rest(given: Any) -> dict[str, Any]:
    found = {name: obj(getattr(given, name, None)) for name in ("metadata", "vendor_metadata")}
    return {name: told(dict(value)) for name, value in found.items() if value}
