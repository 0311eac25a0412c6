"""Bodies of requests as they are saved: without media, and with references to parts of earlier ones.

`{"$same": 1}` is a field of call 1, and `{"$same": [1, 2]}` its first two items. Each request of a conversation repeats
the previous ones, so a file without references would grow quadratically. Images, sound and files are replaced by their
digests, which are also compared.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, Final, cast

from pandaprobe_otel.mapping.values import type_of
from pandaprobe_otel.protocols.encoding import dump, dump_bytes, load
from pandaprobe_otel.traces.json_shapes import list_in, object_in

SAME: Final = "$same"
MAX_BYTES: Final = 256 << 20
"""Largest total size of a cassette's requests after all references are resolved."""
_WORTH: Final = 48
"""Shortest value, in bytes, that is replaced by a reference."""
_FEW: Final = 8
"""Number of items at the end of a list that may be new. A call with fewer new ones is the best one to refer to."""
_SHORT: Final = 60
"""Length up to which several fields, or several items, are on one line."""
_LOOKED_AT: Final = 16
"""Maximum number of earlier calls that are compared, newest first."""

DIGEST: Final = "$sha256"
"""Key that marks an object as a replacement for media."""
MIN_CHARS: Final = 256
"""Length of the shortest base64 that is replaced. The digest of a shorter one would hardly save space."""
_MEDIA: Final = frozenset(
    {"data", "bytes", "file_data", "fileData", "image", "images", "audio", "video", "b64_json", "bytesBase64Encoded"}
)
"""Keys of base64 values without a data URL, in the protocols of models. Signatures of models (`signature`,
`encrypted_content`) are not included, since the service needs them back.
"""
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_DATA_URL: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w.+=-]+)*;base64,")
_URL_SAFE: Final = str.maketrans("-_", "+/")

Document = dict[str, Any]


class Sharing:
    """Writer of the bodies of requests, in sequence."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, dict[str, Sequence[bytes]]]] = deque(maxlen=_LOOKED_AT)

    def shorten(self, call: int, body: bytes) -> str | None:
        """Return the text of a JSON body; None for a body that is not an object, or that contains `$same` itself."""
        try:
            document = object_in(None if f'"{SAME}"'.encode() in body else _without_media(load(body)))
        except (ValueError, RecursionError):
            return None
        if document is None:
            return None
        texts = {key: _texts(value) for key, value in document.items()}
        short = {key: self._field(key, value, texts[key]) for key, value in document.items()}
        self._seen.append((call, texts))
        return _in_lines(short)

    def _field(self, key: str, value: Any, texts: Sequence[bytes]) -> Any:
        """Return a field with references. Its JSON is compared, since Python also takes 1, 1.0 and True for equal."""
        best, length = 0, 0
        for call, earlier in reversed(self._seen) if type_of(value) in (list, dict) else ():
            other = earlier.get(key, ())
            if other == texts:
                return {SAME: call} if sum(map(len, texts)) >= _WORTH else value
            pairs = zip(texts, other, strict=False) if type_of(value) is list else ()
            common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            if common > length:
                best, length = call, common
            if length and length >= len(texts) - _FEW:
                break  # No other call is likely to share more.
        if sum(map(len, texts[:length])) < _WORTH:
            return value
        return [{SAME: [best, length]}, *value[length:]]


def _texts(value: Any) -> Sequence[bytes]:
    """Return the JSON of each item of a list, or that of another value."""
    return [*map(dump_bytes, cast("Sequence[Any]", value))] if isinstance(value, list) else (dump_bytes(value),)


def _without_media(value: Any, key: str = "") -> Any:
    if isinstance(value, str):
        return digest_of_text(value, key=key) or value
    if isinstance(value, dict):
        return {name: _without_media(item, name) for name, item in cast("Document", value).items()}
    if isinstance(value, list):
        return [_without_media(item, key) for item in cast("Sequence[Any]", value)]
    return value


def _in_lines(value: Mapping[str, Any]) -> str:
    """Return the JSON of a request, with one line for each long field and for each item of a long list."""
    lines: list[list[str]] = [[]]
    for key, item in value.items():
        text = f"{dump(key)}: {_lines_of(item)}"
        if len(text) > _SHORT:
            lines += [[text], []]
        else:
            lines[-1].append(text)
    return "{" + ",\n ".join(", ".join(line) for line in lines if line) + "}\n"


def _lines_of(value: Any) -> str:
    if not isinstance(value, list):
        return dump(value, spaces=True)
    items = [dump(item, spaces=True) for item in cast("Sequence[Any]", value)]
    between = ", " if sum(map(len, items)) + 2 * len(items) <= _SHORT else ",\n  "
    return f"[{between.join(items)}]"


class Expansion:
    """Reader of the bodies, in sequence."""

    def __init__(self) -> None:
        self._seen: dict[int, Document] = {}
        self._size = 0

    def whole(self, call: int, text: str) -> bytes:
        """Return the whole body of a call. Text that is not a JSON object is returned unchanged.

        Raises ValueError for a reference to nothing before it, and for bodies that are too large together.
        """
        try:
            document = load(text)
        except (ValueError, RecursionError):
            return text.encode()
        if not isinstance(document, dict):
            return text.encode()
        whole = {key: self._field(key, value) for key, value in cast("Document", document).items()}
        self._seen[call] = whole
        body = dump_bytes(whole)
        self._size += len(body)
        if self._size > MAX_BYTES:
            raise ValueError(f"with their references resolved, the requests have more than {MAX_BYTES >> 20} MB")
        return body

    def _field(self, key: str, value: Any) -> Any:
        if _is_reference(value):
            return self._named(value[SAME], key)
        rest = list_in(value)
        if not rest or not _is_reference(rest[0]):
            return value
        match rest[0][SAME]:
            case [call, int(count)]:
                earlier = list_in(self._named(call, key)) or []
            case _:
                form = f'{{"{SAME}": [call, number of items]}}'
                raise ValueError(f"{dump(rest[0])} in {key!r} must have the form {form}")
        if not 0 < count <= len(earlier):
            raise ValueError(f"call {call} has no {count} items in {key!r}")
        return [*earlier[:count], *rest[1:]]

    def _named(self, call: Any, key: str) -> Any:
        if not isinstance(call, int) or key not in self._seen.get(call, ()):
            raise ValueError(f"there is no earlier call {dump(call)} with {key!r}")
        return self._seen[call][key]


def _is_reference(value: Any) -> bool:
    return isinstance(value, Mapping) and len(cast("Document", value)) == 1 and SAME in value


# -- media -------------------------------------------------------------------------------------------------------------


def digest_of_text(text: str, *, key: str = "") -> dict[str, Any] | None:
    """Return the replacement for a base64 text under a key of a request; None for any other text."""
    if len(text) < MIN_CHARS:
        return None
    head = _DATA_URL.match(text)
    digits = text[head.end() :] if head is not None else text if key in _MEDIA else ""
    if not _BASE64.fullmatch(digits):
        return None
    digits = digits.rstrip("=").translate(_URL_SAFE)  # Only some versions of Python accept too much padding.
    try:
        data = base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except binascii.Error:
        return None
    return digest_of_bytes(data, kind=None if head is None else head[1])


def digest_of_bytes(data: bytes, *, kind: str | None = None) -> dict[str, Any]:
    """Return the replacement for these bytes: their SHA-256, their length and, if known, their media type."""
    digest: dict[str, Any] = {DIGEST: hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    return digest if kind is None else {**digest, "type": kind}


def is_digest(value: Mapping[str, Any]) -> bool:
    """Return whether an object of a request replaces media."""
    return isinstance(value.get(DIGEST), str)
