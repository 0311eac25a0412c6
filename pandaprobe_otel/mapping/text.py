"""Text that PandaProbe can store, digests that replace binary data, and cuts with markers.

The server answers 202 to a trace with a NUL or a lone surrogate and then loses it (measured on server 0.5.0), so every
text passes through `clean_text` before it is sent.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
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
    data = text.encode("utf-8", "replace")
    missing = len(data) - len(kept.encode("utf-8", "replace"))
    return f"{kept}…[cut {missing} of {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}]"


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


def with_texts(value: Any, change: Callable[[str], Any], *, keys: bool = False) -> Any:
    """Return the JSON-safe value with each text, and with `keys` each key, replaced by what the function returns."""
    kind = type_of(value)
    if kind is str:
        return change(value)
    if kind is dict:
        return {change(key) if keys else key: with_texts(item, change, keys=keys) for key, item in value.items()}
    return [with_texts(item, change, keys=keys) for item in value] if kind is list else value


def with_media(value: Any, keep: int) -> Any:
    """Return the JSON-safe value with each base64 data URL of over `keep` characters replaced by its digest."""
    return with_texts(value, lambda text: (digest_of_data_url(text) if len(text) > keep else None) or text)


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
_MARK_ROOM, _DIGEST_ROOM = 36, 100
"""Bytes of a text's marker, without its numbers."""
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
    keep = max(max_bytes - (_DIGEST_ROOM if digest else _MARK_ROOM) - 2 * len(str(len(text))), 0)
    cut = cut_text(text, keep, digest=digest)
    for _ in range(_ROUNDS):
        size = encoded_size(cut)
        if size <= max_bytes:
            return cut
        keep = max(min(int(keep * max_bytes / size) - 8, keep - 8), 0)
        cut = cut_text(cut, keep)  # its marker refers to the original text
    return cut_text(cut, 0)


def _fit_items(value: Any, max_bytes: int, digest: bool) -> Any:
    is_list = type_of(value) is list
    names, items = [*value], value if is_list else [*value.values()]
    room, most, used = max_bytes - 2, max(max_bytes // 4, _LEAST), 0
    kept: list[tuple[int, int, int, int]] = []
    for turn in range(len(items)):  # only as many as may be kept, because the others may be a hundred thousand
        at = turn if not is_list else turn // 2 if turn % 2 == 0 else len(items) - 1 - turn // 2  # from both ends
        size = least = encoded_size(items[at])
        if size > _SHORTEST:
            least = min(_size_without_texts(items[at], size), most)
        if not is_list and len(names[at]) > MAX_KEY:
            names[at] = cut_text(names[at], _LEAST, digest=True)
        used += least + (1 if is_list else encoded_size(names[at]) + 2)
        kept.append((at, size, least, used))
        if used > room:
            break
    is_cut = used > room
    if is_cut:
        room -= _MARKER_ROOM
        while kept and (used := kept[-1][-1]) > room:
            kept.pop()
            used = 0
    more = sorted(size - least for _, size, least, _ in kept if size > least)
    level = level_of(more, sum(more) + used - room, 0)
    fitted = {
        at: items[at] if size <= least + level else shrink(items[at], least + level, digest=digest)
        for at, size, least, _ in sorted(kept)
    }
    cut = ""
    place = -(-len(kept) // 2) if is_list else len(kept)
    if is_cut:
        total = len(items)
        for item in items[place : place + total - len(kept)]:  # those of an earlier marker count too
            if type_of(item) is str and (earlier := _EARLIER.fullmatch(item)) is not None:
                total = int(earlier[1])
                break
        cut = f"[cut {total - len(kept)} of {total} {'items' if is_list else 'keys'}]"
    if not is_list:
        named = {names[at]: item for at, item in fitted.items()}
        return named | {"…": cut} if is_cut else named
    shown = [*fitted.values()]
    if is_cut:
        is_talk = type_of(items[0]) is dict and "role" in items[0]  # then the value must remain a list of messages
        shown.insert(place, {"role": "system", "content": f"…{cut}"} if is_talk else f"…{cut}")
    return shown


def _size_without_texts(value: Any, size: int) -> int:
    """Return the size in bytes of a value of `size` bytes after all its texts have been cut to the shortest length."""
    if size <= _SHORTEST or type_of(value) is str:
        return min(size, _SHORTEST)
    inside: Any = value if type_of(value) is list else value.values()
    names = len(value) if inside is value else sum([encoded_size(key) + 2 for key in value])
    return 2 + names + sum([_size_without_texts(item, encoded_size(item)) for item in inside])


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
