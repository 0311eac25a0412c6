"""Sound and pictures that an app sends in a live session. They are described by size and digest, and not kept."""

from __future__ import annotations

import hashlib
from base64 import b64decode
from typing import Any, Final

from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._shape import Object, items, obj, string

from .contents import inline_blob, member

_SOUND: Final = "audio/"
MAX_PICTURES: Final = 100
"""Largest number of pictures of one turn that are described. If there are more, only their number is recorded."""


class SentMedia:
    """The media that were sent since the last turn."""

    def __init__(self) -> None:
        self._sounds: dict[str, tuple[Any, int]] = {}
        self._pictures: list[Part] = []
        self._more = 0

    def add(self, realtime: Object) -> None:
        """Add the sound, picture or chunks of a message."""
        for piece in (realtime.get("audio"), realtime.get("video"), *items(member(realtime, "mediaChunks"))):
            data = obj(piece)
            mime_type = string(member(data, "mimeType")) or ""
            if mime_type.startswith(_SOUND):
                self._hear(mime_type, str(data.get("data") or ""))
            elif len(self._pictures) < MAX_PICTURES:
                self._pictures += [inline_blob(data)] if data else []
            else:
                self._more += 1

    def taken(self) -> list[Part]:
        """Return the parts that describe the media, and start a new count."""
        found = [
            {"type": "blob", "modality": "audio", "mime_type": mime, "bytes": size, "sha256": digest.hexdigest()}
            for mime, (digest, size) in self._sounds.items()
        ]
        found += self._pictures
        if self._more:
            found.append({"type": "text", "content": f"[{self._more} more pictures, not recorded]"})
        self._sounds, self._pictures, self._more = {}, [], 0
        return found

    def _hear(self, mime_type: str, text: str) -> None:
        data = b64decode(text.replace("-", "+").replace("_", "/"))
        digest, size = self._sounds.get(mime_type) or (hashlib.sha256(), 0)
        digest.update(data)
        self._sounds[mime_type] = digest, size + len(data)
