"""Documents found by a retriever."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from pandaprobe_otel.traces.json_shapes import list_in, number_in, object_in

_TEXT_KEYS: Final = ("page_content", "content", "text", "document")
_TITLE_KEYS: Final = ("title", "name")
_SOURCE_KEYS: Final = ("source", "url", "uri", "file_name", "file_path", "path", "id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document as a card. `beside` is the content that the card does not show."""

    text: str
    title: str | None = None
    score: float | None = None
    source: str | None = None
    beside: dict[str, Any] = field(default_factory=dict[str, Any])


def documents_in(payload: Any) -> list[Document]:
    """Return the documents of a payload; empty unless it is a list of documents."""
    record = object_in(payload)
    items = list_in(record["documents"]) if record is not None and record.keys() == {"documents"} else list_in(payload)
    found = [_document(item) for item in items or ()]
    return [one for one in found if one is not None] if None not in found else []


def _document(item: Any) -> Document | None:
    record = object_in(item)
    if record is None or "role" in record:
        return None
    key = next((key for key in _TEXT_KEYS if isinstance(record.get(key), str)), None)
    if key is None:
        return None
    beside = {name: value for name, value in record.items() if name != key and value is not None}
    metadata = object_in(beside.get("metadata"))
    inner = dict(metadata or {})
    title = _taken(beside, inner, _TITLE_KEYS)
    source = _taken(beside, inner, _SOURCE_KEYS)
    score = number_in(beside.get("score"))
    if score is not None:
        del beside["score"]
    if metadata is not None:
        beside["metadata"] = inner
        if not inner:
            del beside["metadata"]
    return Document(text=record[key], title=title, score=score, source=source, beside=beside)


def _taken(outer: dict[str, Any], inner: dict[str, Any], keys: tuple[str, ...]) -> str | None:
    """Remove and return the first text under one of these names."""
    for key in keys:
        for holder in (outer, inner):
            if isinstance(holder.get(key), str):
                found: str = holder.pop(key)
                return found
    return None
