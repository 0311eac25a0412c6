"""Documents, images and sound within payloads, in the formats of retrievers and providers."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any, Final, cast

from pandaprobe_otel.traces.json_shapes import list_in, number_in, object_in

_TEXT_KEYS: Final = ("page_content", "content", "text", "document")
_TITLE_KEYS: Final = ("title", "name")
_SOURCE_KEYS: Final = ("source", "url", "uri", "file_name", "file_path", "path", "id")
_MAX_BASE64: Final = 2_700_000
"""Maximum number of characters of media that a page shows without a click: two megabytes."""
_SIGNATURES: Final = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"ID3": "audio/mpeg",
    b"\xff\xfb": "audio/mpeg",
    b"OggS": "audio/ogg",
}


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """An image or sound: its bytes as a data URL, its size and digest, or its address."""

    mime_type: str = ""
    size: int | None = None
    source: str | None = None
    sha256: str | None = None
    address: str | None = None

    @property
    def is_picture(self) -> bool:
        """True for an image."""
        return self.mime_type.startswith("image/")


def media_in(part: Any) -> Media | None:
    """Return the media in a part of a message; None if there is none."""
    record = object_in(part)
    if record is None:
        return None
    for inner in (record, *(object_in(value) for value in record.values())):
        if inner is not None and (found := _media(inner)) is not None:
            return found
    return None


def _media(record: dict[str, Any]) -> Media | None:
    mime_type = next((record[key] for key in ("mime_type", "mimeType", "media_type") if key in record), None)
    size, digest = record.get("bytes"), record.get("sha256")
    if isinstance(mime_type, str) and isinstance(size, int) and isinstance(digest, str):
        return Media(mime_type=mime_type, size=size, sha256=digest)
    for key in ("data", "url", "image_url", "file_data", "b64_json"):
        value = record.get(key)
        if isinstance(value, dict):  # a digest in the place of a URL
            return _media(cast("dict[str, Any]", value))
        if isinstance(value, str) and value.startswith("data:"):
            return _decoded(value.partition(",")[2])
        if isinstance(value, str) and key in ("data", "b64_json"):
            return _decoded(value)
        if isinstance(value, str) and value.startswith(("https://", "http://")) and "url" in key:
            return Media(address=value)
    return None


def _decoded(encoded: str) -> Media | None:
    """Return the media in base64.

    The bytes determine the type, not the message's claim, since SVG may contain scripts.
    """
    try:
        start = base64.b64decode(encoded[:64], validate=True)
    except (binascii.Error, ValueError):
        return None
    mime_type = next((kind for mark, kind in _SIGNATURES.items() if start.startswith(mark)), None)
    if start[:4] == b"RIFF":
        mime_type = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(start[8:12])
    if mime_type is None:
        return None
    is_shown = len(encoded) <= _MAX_BASE64
    size = len(encoded) * 3 // 4 - encoded[-2:].count("=")
    return Media(mime_type=mime_type, size=size, source=f"data:{mime_type};base64,{encoded}" if is_shown else None)
