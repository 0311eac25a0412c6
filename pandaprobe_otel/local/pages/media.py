"""Images and sound within messages, in the formats of providers."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Final, cast

from pandaprobe_otel.traces.json_shapes import object_in

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
