"""Text that PandaProbe's store can hold, cuts that say what they cut, and digests in place of binary data.

The server answers 202 to a trace with a NUL or a lone surrogate anywhere and then loses it (measured on
server 0.5.0), so every text passes through `clean_text` on its way out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from functools import lru_cache
from typing import Final

MIN_DATA_URL: Final = 1024
"""Data URLs below this many characters are left alone: an icon is cheaper than its digest is useful."""
MAX_DATA_URL: Final = 32 << 20
"""Longer ones are cut as any text is: they would be decoded for their hash."""

_MARKER: Final = re.compile(r"…\[cut \d{1,18} of (\d{1,18}) (characters|bytes, sha256 [0-9a-f]{64})\]\Z")
_MAX_MARKER: Final = 140

_MAGIC: Final = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF", "application/pdf"),
    (b"RIFF", "audio/wav"),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"PK\x03\x04", "application/zip"),
)


def clean_text(text: str) -> str:
    """Return the text without NUL and with each lone surrogate replaced by U+FFFD."""
    if "\x00" in text:
        text = text.replace("\x00", "")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        # Through UTF-16, so that two halves that were joined by mistake become the character they stand for.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def cut_text(text: str, keep: int, *, digest: bool = False) -> str:
    """Return the first `keep` characters and a marker that says how much is missing.

    With `digest` the marker counts bytes of UTF-8 and carries the SHA-256 of the whole text; without, it
    counts characters, which costs nothing on a text of many megabytes. A text that ends in such a marker is cut
    again from what it was at first.
    """
    kept = text[:keep]
    earlier = _MARKER.search(text, max(keep, len(text) - _MAX_MARKER))
    if earlier is not None:
        total, unit = earlier.groups()
        missing = int(total) - (len(kept) if unit == "characters" else len(kept.encode("utf-8", "replace")))
        return f"{kept}…[cut {missing} of {total} {unit}]"
    if not digest:
        return f"{kept}…[cut {len(text) - len(kept)} of {len(text)} characters]"
    size, sha256 = size_and_hash(text)
    missing = size - len(kept.encode("utf-8", "replace"))
    return f"{kept}…[cut {missing} of {size} bytes, sha256 {sha256}]"


@lru_cache(maxsize=64)
def size_and_hash(text: str) -> tuple[int, str]:
    """Return the length of a text in UTF-8 and its SHA-256.

    Remembered, since a text is cut again and again until all fits, and stands in a trace and in its root; who cuts
    forgets it afterwards (`size_and_hash.cache_clear`).
    """
    data = text.encode("utf-8", "replace")
    return len(data), hashlib.sha256(data).hexdigest()


def short_text(text: str, limit: int) -> str:
    """Return the text within `limit` characters; a longer one ends in a hash, so that two stay different."""
    if len(text) <= limit:
        return text
    return f"{text[: limit - 17]}~{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:16]}"


def digest_of(data: bytes, mime_type: str | None = None) -> dict[str, object]:
    """Return what stands in for binary data: its type, its length in bytes and its SHA-256."""
    return {
        "mime_type": mime_type or mime_type_of(data),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def digest_of_data_url(text: str) -> dict[str, object] | None:
    """Return the digest of a long base64 data URL, None for any other text."""
    if not MIN_DATA_URL <= len(text) <= MAX_DATA_URL or not text.startswith("data:"):
        return None
    head, comma, body = text.partition(",")
    if not comma or len(head) > 256 or not head.endswith(";base64"):
        return None
    try:
        data = base64.b64decode(body, validate=False)
    except (binascii.Error, ValueError):
        data = body.encode("utf-8", "replace")
    return digest_of(data, head[5:-7].partition(";")[0] or None)


def mime_type_of(data: bytes) -> str:
    """Return the type that the first bytes of binary data tell."""
    head = data[:8]
    return next((mime for magic, mime in _MAGIC if head.startswith(magic)), "application/octet-stream")
