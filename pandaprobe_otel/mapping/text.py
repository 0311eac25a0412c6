"""Text that PandaProbe can store, digests that replace binary data, and cuts with markers.

The server answers 202 to a trace with a NUL or a lone surrogate and then loses it (measured on server 0.5.0), so every
text passes through `clean_text` before it is sent.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, Final

import orjson

from pandaprobe_otel.mapping.values import type_of

MIN_DATA_URL: Final = 1024
"""Data URLs with fewer characters are kept: a digest of an icon would save little and be less useful."""
MAX_INLINE: Final = 262_144
"""Longest data URL that may be sent with its data."""
MAX_DATA_URL: Final = 32 << 20
"""Longer data URLs are cut like other texts, because hashing them would require decoding."""

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


def with_media(value: Any, keep: int) -> Any:
    """Return the JSON-safe value with each base64 data URL of over `keep` characters replaced by its digest."""
    kind = type_of(value)
    if kind is str:
        return (None if len(value) <= keep else digest_of_data_url(value)) or value
    if kind is dict:
        return {key: with_media(item, keep) for key, item in value.items()}
    return [with_media(item, keep) for item in value] if kind is list else value


def mime_type_of(data: bytes) -> str:
    """Return the MIME type of binary data by its first bytes."""
    head = data[:8]
    return next((mime for magic, mime in _MAGIC if head.startswith(magic)), "application/octet-stream")


# -- reduction of a value to a number of bytes, with as much of its structure as possible ------------------------------

# The longest texts are cut to one size. Only if that is not enough, the middle of a list and the last keys of an object
# are left out. A marker states each cut.

MIN_TEXT: Final = 64
"""Shortest length to which texts are cut before they are cleaned, in characters; a marker has about this length."""

MAX_KEY: Final = 512
_ROUNDS: Final = 12
_SHORTEST: Final = 192
"""Bytes to which a text is cut at most, so that a beginning of it is left beside the marker."""
_LEAST: Final = 256
"""Bytes to which any value can be cut."""
_MARKER_ROOM: Final = 128
_EARLIER: Final = re.compile(r"…?\[cut \d{1,18} of (\d{1,18}) (?:items|keys)\]")


def shrink(value: Any, max_bytes: int, *, digest: bool = False) -> Any:
    """Return the JSON-safe value, cut so that its encoding takes at most `max_bytes` bytes (at least 256).

    The value itself is not changed. With `digest`, markers contain the SHA-256 of the cut text.
    """
    size = encoded_size(value)
    if size <= max_bytes:
        return value
    return _fit_text(value, max_bytes, digest) if type_of(value) is str else _fit_items(value, max_bytes, digest)


def encoded_size(value: Any) -> int:
    """Return the size in bytes of the JSON-safe value as JSON."""
    return len(orjson.dumps(value))


def _fit_text(text: str, max_bytes: int, digest: bool) -> str:
    keep = max_bytes - 160
    for _ in range(_ROUNDS):
        cut = cut_text(text, max(keep, 0), digest=digest)
        size = encoded_size(cut)
        if size <= max_bytes or keep <= 0:
            return cut
        keep = min(int(keep * max_bytes / size) - 8, keep - 8)
    return cut_text(text, 0, digest=digest)


def _fit_items(value: Any, max_bytes: int, digest: bool) -> Any:
    is_list = type_of(value) is list
    keys = [] if is_list else [key if len(key) <= MAX_KEY else cut_text(key, _LEAST, digest=True) for key in value]
    items: list[Any] = value if is_list else [*value.values()]
    frames = [1] * len(items) if is_list else [encoded_size(key) + 2 for key in keys]
    sizes = [*map(encoded_size, items)]
    room, most = max_bytes - 2, max(max_bytes // 4, _LEAST)
    least = [min(_size_without_texts(item, size), most) for item, size in zip(items, sizes, strict=True)]
    needed = [frame + size for frame, size in zip(frames, least, strict=True)]
    kept, last = [*range(len(items))], len(items) - 1
    is_cut = sum(needed) > room
    if is_cut:
        room -= _MARKER_ROOM
        order = sorted(kept, key=lambda at: min(at, last - at)) if is_list else kept  # from both ends
        kept = sorted(order[: bisect_right([*accumulate(needed[at] for at in order)], room)])
    more = sorted(sizes[at] - least[at] for at in kept)
    level = level_of(more, sum(more) + sum(needed[at] for at in kept) - room, 0)
    fitted = {at: shrink(items[at], least[at] + level, digest=digest) for at in kept}
    if not is_list:
        named = {keys[at]: item for at, item in fitted.items()}
        return named | {"…": _marker(items, kept, "keys")} if is_cut else named
    shown = [*fitted.values()]
    if is_cut:
        marker: Any = f"…{_marker(items, kept, 'items')}"
        if type_of(items[0]) is dict and "role" in items[0]:
            marker = {"role": "system", "content": marker}  # the value must remain a list of messages
        shown.insert((len(kept) + 1) // 2, marker)
    return shown


def _size_without_texts(value: Any, size: int) -> int:
    """Return the size in bytes of a value of `size` bytes after all its texts have been cut to the shortest length."""
    if size <= _SHORTEST or type_of(value) is str:
        return min(size, _SHORTEST)
    inside: Any = value if type_of(value) is list else value.values()
    names = len(value) if inside is value else sum([encoded_size(key) + 2 for key in value])
    return 2 + names + sum([_size_without_texts(item, encoded_size(item)) for item in inside])


def _marker(items: Sequence[Any], kept: Sequence[int], of: str) -> str:
    """Return the marker for the items that are left out. If one of them is such a marker, it counts for its items."""
    earlier = [
        int(mark[1])
        for at in {*range(len(items))}.difference(kept)
        if type_of(items[at]) is str and (mark := _EARLIER.fullmatch(items[at])) is not None
    ]
    total = earlier[0] if earlier else len(items)
    return f"[cut {total - len(kept)} of {total} {of}]"


def level_of(lengths: list[int], excess: int, least: int = MIN_TEXT) -> int:
    """Return the length to which to cut the longest values, to save `excess`; `least` if that is impossible.

    `lengths` is ascending; markers are not counted.
    """
    for taken in range(1, len(lengths) + 1):
        here = lengths[-taken]
        below = lengths[-taken - 1] if taken < len(lengths) else 0
        room = (here - below) * taken
        if room >= excess:
            return here - -(-excess // taken)
        excess -= room
    return least
