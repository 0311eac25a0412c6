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
from collections.abc import Callable
from functools import lru_cache, partial
from itertools import islice
from typing import Any, Final

import orjson

from pandaprobe_otel.mapping.values import type_of

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


# -- reduction of a value to a number of bytes, with as much of its structure as possible ------------------------------

# First, the longest texts are cut to the largest length that fits. If that is not enough, long lists keep only their
# beginning and end, and then deep values only their upper levels. A marker states each cut.

MIN_TEXT: Final = 64
"""Shortest length to which texts are cut, in characters; a marker has about this length."""

MAX_KEY: Final = 512
_ROUNDS: Final = 12
_ITEM_STEPS: Final = (1000, 200, 50, 16, 6, 2)
_LEVEL_STEPS: Final = (12, 8, 5, 3, 2, 1)
_MARKER_ROOM: Final = 128
_SAMPLE: Final = 4096
_EARLIER: Final = re.compile(r"…?\[cut \d{1,18} of (\d{1,18}) (?:items|keys)\]")


def shrink(
    value: Any, max_bytes: int, *, digest: bool = False, size: int | None = None, survey: Survey | None = None
) -> Any:
    """Return the JSON-safe value, cut so that its encoding takes at most `max_bytes` bytes (at least 256).

    The value itself is not changed. With `digest`, markers contain the SHA-256 of the cut text or value. `size` is the
    current size of the encoding, and `survey` the value's survey, if known.
    """
    if size is None:
        size = encoded_size(value)
    if size <= max_bytes:
        return value
    if isinstance(value, str):
        return _fit_text(value, max_bytes, digest)
    survey = survey or Survey(value)
    fitted = value
    if survey.may_fit(size, max_bytes):
        fitted = _fit_texts(value, survey, max_bytes, digest, size)
        if encoded_size(fitted) <= max_bytes:
            return fitted
    for items in _ITEM_STEPS:
        if items < survey.most_items:
            fewer = _fewer_items(value, items)
            fitted = _fit_texts(fewer, Survey(fewer), max_bytes, digest, encoded_size(fewer))
            if encoded_size(fitted) <= max_bytes:
                return fitted
    for levels in _LEVEL_STEPS:
        shallow = _shallower(fitted, levels)
        if encoded_size(shallow) <= max_bytes:
            return shallow
    return _placeholder(value, size, digest)


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


def _fit_texts(value: Any, survey: Survey, max_bytes: int, digest: bool, size: int) -> Any:
    """Return the value with its longest texts cut, or the value itself if none of them is long."""
    if max(survey.texts, default=0) <= MIN_TEXT + _MARKER_ROOM:
        return value
    lengths = sorted(survey.texts)
    # The excess is in bytes, but lengths are in characters, and an escaped or non-ASCII character takes several bytes.
    excess = int((size - max_bytes) / survey.bytes_of_a_character())
    limit = level_of(lengths, excess)
    limit = level_of(lengths, excess + _MARKER_ROOM * (len(lengths) - bisect_right(lengths, limit)))
    result = value
    for _ in range(_ROUNDS):
        limit = max(limit, MIN_TEXT)
        result = map_texts(value, partial(_cut, limit=limit, digest=digest))
        size = encoded_size(result)
        if size <= max_bytes or limit == MIN_TEXT:
            break
        limit = min(int(limit * max_bytes / size), limit - 1)
    return result


def _cut(text: str, limit: int, digest: bool) -> str:
    # For a text that is barely too long, the marker would need more room than the cut saves.
    return text if len(text) <= limit + _MARKER_ROOM else cut_text(text, limit, digest=digest)


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


class Survey:
    """Survey of a value: the lengths of all its texts, and the number of items in its largest container."""

    __slots__ = ("longest", "most_items", "texts")

    def __init__(self, value: Any) -> None:
        self.texts: list[int] = []
        self.longest = ""
        self.most_items = 0
        self._walk((value,))

    def may_fit(self, size: int, max_bytes: int) -> bool:
        """Return whether a value of `size` bytes may fit if only its texts are cut."""
        spared = sum([max(length - MIN_TEXT - _MARKER_ROOM, 0) for length in self.texts])
        bytes_each = min(size / max(sum(self.texts), 1), 4)
        return size - spared * bytes_each <= max_bytes

    def bytes_of_a_character(self) -> float:
        """Return the bytes per character of the longest text as JSON, from its beginning, middle and end."""
        text, most = self.longest, len(self.longest) - _SAMPLE
        sample = "".join(text[max(at, 0) : max(at, 0) + _SAMPLE] for at in (0, most // 2, most))
        return max((encoded_size(sample) - 2) / len(sample), 1.0) if sample else 1.0

    def _walk(self, container: Any) -> None:
        items, count = container, len(container)
        if type_of(container) is dict:
            items = container.values()
            if max(map(len, container), default=0) > MAX_KEY:
                count = max(count, _ITEM_STEPS[0] + 1)  # keys are cut together with items
        if count > self.most_items:
            self.most_items = count
        for item in items:
            kind = type_of(item)
            if kind is str:
                self.texts.append(len(item))
                if len(item) > len(self.longest):
                    self.longest = item
            elif kind is dict or kind is list:
                self._walk(item)


def map_texts(value: Any, change: Callable[[str], Any]) -> Any:
    """Return the JSON-safe value with each text changed; keys stay."""
    kind = type_of(value)
    if kind is str:
        return change(value)
    if kind is dict:
        return {key: map_texts(item, change) for key, item in value.items()}
    if kind is list:
        return [map_texts(item, change) for item in value]
    return value


def _fewer_items(value: Any, keep: int) -> Any:
    kind = type_of(value)
    if kind is dict:
        earlier = _EARLIER.fullmatch(value["…"]) if type_of(value.get("…")) is str else None
        count = len(value) - (earlier is not None)
        result = {_short_key(key): _fewer_items(item, keep) for key, item in islice(value.items(), keep)}
        if count > keep:
            total = int(earlier[1]) if earlier is not None else count
            result["…"] = f"[cut {total - keep} of {total} keys]"
        return result
    if kind is list and len(value) > keep:
        total = len(value)
        for item in value[(keep + 1) // 2 : total - keep // 2]:  # the list may have been cut earlier
            if type_of(item) is str and (earlier := _EARLIER.fullmatch(item)) is not None:
                total = int(earlier[1])
        marker: Any = f"…[cut {total - keep} of {total} items]"
        if type_of(value[0]) is dict and "role" in value[0]:
            marker = {"role": "system", "content": marker}  # the value must remain a list of messages
        head, tail = value[: (keep + 1) // 2], value[len(value) - keep // 2 :]
        return [*_fewer_items(head, keep), marker, *_fewer_items(tail, keep)]
    if kind is list:
        return [_fewer_items(item, keep) for item in value]
    return value


def _shallower(value: Any, levels: int) -> Any:
    kind = type_of(value)
    if kind is dict:
        if levels <= 0:
            return f"…[cut {len(value)} keys]"
        return {key: _shallower(item, levels - 1) for key, item in value.items()}
    if kind is list:
        if levels <= 0:
            return f"…[cut {len(value)} items]"
        return [_shallower(item, levels - 1) for item in value]
    return value


def _short_key(key: str) -> str:
    return key if len(key) <= MAX_KEY else cut_text(key, MAX_KEY - 64)


def _placeholder(value: Any, size: int, digest: bool) -> str:
    """Return the replacement of a value whose bare structure does not fit either."""
    if not digest:
        return f"…[cut {size} of {size} bytes]"
    return f"…[cut {size} of {size} bytes, sha256 {hashlib.sha256(orjson.dumps(value)).hexdigest()}]"
