"""Images, sound and files in requests. A cassette has only their digests, which are also compared."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

DIGEST: Final = "$sha256"
"""Key that marks an object as a replacement for media."""
MIN_CHARS: Final = 256
"""Length of the shortest base64 that is replaced. The digest of a shorter one would hardly save space."""
KEYS: Final = frozenset(
    {"data", "bytes", "file_data", "fileData", "image", "images", "audio", "video", "b64_json", "bytesBase64Encoded"}
)
"""Keys of base64 values without a data URL, in the protocols of models. Signatures of models (`signature`,
`encrypted_content`) are not included, since the service needs them back.
"""

_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_DATA_URL: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w.+=-]+)*;base64,")
_URL_SAFE: Final = str.maketrans("-_", "+/")


def digest_of_text(text: str, *, key: str = "") -> dict[str, Any] | None:
    """Return the replacement for a base64 text under a key of a request; None for any other text."""
    if len(text) < MIN_CHARS:
        return None
    head = _DATA_URL.match(text)
    if head is not None:
        data = _decoded(text[head.end() :])
        return None if data is None else digest_of_bytes(data, kind=head[1])
    data = _decoded(text) if key in KEYS else None
    return None if data is None else digest_of_bytes(data)


def digest_of_bytes(data: bytes, *, kind: str | None = None) -> dict[str, Any]:
    """Return the replacement for these bytes: their SHA-256, their length and, if known, their media type."""
    digest: dict[str, Any] = {DIGEST: hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    return digest if kind is None else {**digest, "type": kind}


def is_digest(value: Mapping[str, Any]) -> bool:
    """Return whether an object of a request replaces media."""
    return isinstance(value.get(DIGEST), str)


def _decoded(text: str) -> bytes | None:
    if not _BASE64.fullmatch(text):
        return None
    digits = text.rstrip("=").translate(_URL_SAFE)  # Only some versions of Python accept too much padding.
    try:
        return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except binascii.Error:
        return None
