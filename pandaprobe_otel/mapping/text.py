"""Text that PandaProbe can store, cuts with markers, and digests that replace binary data.

The server answers 202 to a trace with a NUL or a lone surrogate and then loses it (measured on server 0.5.0), so every
text passes through `clean_text` before it is sent.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from functools import lru_cache
from typing import Any, Final

from pandaprobe_otel.mapping.exact_types import type_of

MIN_DATA_URL: Final = 1024
"""Data URLs with fewer characters are kept: a digest of an icon would save little and be less useful."""
MAX_INLINE: Final = 262_144
"""Longest data URL that may be sent with its data."""
MAX_DATA_URL: Final = 32 << 20
"""Longer data URLs are cut like other texts, because hashing them would require decoding."""

_SMALL_MEDIA: Final = frozenset({"mime_type", "bytes", "sha256", "data"})
_MARKER: Final = re.compile(r"…\[cut \d{1,18} of (\d{1,18}) (characters|bytes, sha256 [0-9a-f]{64})\]\Z")
_MAX_MARKER: Final = 140

_MAGIC: Final = (
    (b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"), (b"%PDF", "application/pdf"),
    (b"RIFF", "audio/wav"), (b"ID3", "audio/mpeg"), (b"OggS", "audio/ogg"), (b"PK\x03\x04", "application/zip"),
)  # fmt: skip


def clean_text(text: str) -> str:
    """Return the text without NUL and with each lone surrogate replaced by U+FFFD."""
    if "\x00" in text:
        text = text.replace("\x00", "")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        # Through UTF-16, so that two adjacent surrogates become the character that they encode.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def cut_text(text: str, keep: int, *, digest: bool = False) -> str:
    """Return the first `keep` characters and a marker that states how much is missing.

    With `digest`, the marker counts bytes of UTF-8 and contains the SHA-256 of the whole text. Otherwise it counts
    characters, which costs nothing for a text of many megabytes. If the text already ends in such a marker, the new
    marker refers to the original text.
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

    The result is cached, because a text is cut repeatedly until everything fits, and is in both a trace and its root.
    The caller clears the cache afterwards (`size_and_hash.cache_clear`).
    """
    data = text.encode("utf-8", "replace")
    return len(data), hashlib.sha256(data).hexdigest()


def short_text(text: str, limit: int) -> str:
    """Return the text within `limit` characters. A longer text ends in a hash, to keep different texts different."""
    if len(text) <= limit:
        return text
    return f"{text[: limit - 17]}~{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:16]}"


def digest_of(data: bytes, mime_type: str | None = None) -> dict[str, object]:
    """Return the replacement of binary data: its type, its length in bytes and its SHA-256."""
    return {
        "mime_type": mime_type or mime_type_of(data),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def digest_of_data_url(text: str) -> dict[str, object] | None:
    """Return the digest of a long base64 data URL, or None for any other text."""
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


def small_media(url: str) -> dict[str, object] | None:
    """Return the digest of a long base64 data URL, with the URL itself as `data` unless it is too long to be sent.

    The last step of the mapping keeps either the URL or the digest. None for any other text.
    """
    digest = digest_of_data_url(url)
    return {**digest, "data": url} if digest is not None and len(url) <= MAX_INLINE else digest


def with_media(value: Any, keep: int) -> Any:
    """Return the JSON-safe value with each base64 data URL of over `keep` characters replaced by its digest."""
    kind = type_of(value)
    if kind is str:
        return (None if len(value) <= keep else digest_of_data_url(value)) or value
    if kind is dict:
        if value.keys() == _SMALL_MEDIA and type_of(url := value["data"]) is str and url.startswith("data:"):
            return url if len(url) <= keep else {key: item for key, item in value.items() if key != "data"}
        return {key: with_media(item, keep) for key, item in value.items()}
    return [with_media(item, keep) for item in value] if kind is list else value


def mime_type_of(data: bytes) -> str:
    """Return the MIME type of binary data by its first bytes."""
    head = data[:8]
    return next((mime for magic, mime in _MAGIC if head.startswith(magic)), "application/octet-stream")
