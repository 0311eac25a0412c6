"""The events of a streamed conversation, merged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pandaprobe_otel_integrations._endpoint import Body
from pandaprobe_otel_integrations._shape import Object, obj, string


def merged_events(events: Iterable[Object]) -> Body:
    """Return the answer of the events, in the form of an answer without streaming."""
    merged: dict[str, Any] = {}
    outputs: dict[tuple[str, str | None], dict[str, Any]] = {}
    for event in events:
        kind = string(event.get("type")) or ""
        if kind == "conversation.response.started":
            merged["conversation_id"] = event.get("conversation_id")
        elif kind == "conversation.response.done":
            merged["usage"] = event.get("usage")
        elif kind == "conversation.response.error":
            merged["error"] = dict(event)
        else:
            _add(outputs, kind, event)
    return {**merged, "outputs": list(outputs.values())}


def _add(outputs: dict[tuple[str, str | None], dict[str, Any]], kind: str, event: Object) -> None:
    """Add a piece to the entry of its kind and id. Entries are in the order of their first pieces."""
    entry_kind, _, stage = kind.rpartition(".")
    entry_id = string(event.get("id"))
    entry = outputs.setdefault((entry_kind, entry_id), {"type": entry_kind, "id": entry_id})
    for name in ("model", "agent_id", "name", "tool_call_id", "info", "next_agent_id", "next_agent_name"):
        if event.get(name) is not None:
            entry[name] = event[name]
    if isinstance(arguments := event.get("arguments"), str):
        entry["arguments"] = arguments if stage == "started" else entry.get("arguments", "") + arguments
    if "content" in event:
        _add_content(entry, event["content"])


def _add_content(entry: dict[str, Any], piece: Any) -> None:
    """Add content: text extends the text before it, and anything else is a separate piece."""
    content: list[Any] = entry.setdefault("content", [])
    text = piece if isinstance(piece, str) else _text(piece)
    if not isinstance(text, str):
        content.append(piece)
    elif content and isinstance(_text(content[-1]), str):
        content[-1]["text"] += text
    else:
        content.append({"type": "text", "text": text})


def _text(piece: Any) -> Any:
    return obj(piece).get("text") if obj(piece).get("type") == "text" else None
