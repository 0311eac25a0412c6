"""Requests that refer to parts of earlier ones: `{"$same": 1}` is a field of call 1, `{"$same": [1, 2]}` its first two
items.

Each request of a conversation repeats the previous ones, so a file without references would grow quadratically.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final, cast

import orjson

from pandaprobe_otel.protocols.encoding import dump, dump_bytes, load
from pandaprobe_otel.replay.earlier_bodies import EarlierBodies
from pandaprobe_otel.replay.media import KEYS, digest_of_text

SAME: Final = "$same"
MAX_BYTES: Final = 256 << 20
"""Largest total size of a cassette's requests after all references are resolved."""
_REFERENCE: Final = f'"{SAME}"'.encode()
_WORTH: Final = 48
"""Shortest value, in bytes, that is replaced by a reference."""
_FEW: Final = 8
"""Maximum number of items of a value that are compared."""
_MEDIA_KEYS: Final = tuple(f'"{key}'.encode() for key in KEYS)
_LONGEST_KEY: Final = max(map(len, _MEDIA_KEYS)) + len(b'":')
_SHORT: Final = 60
"""Length up to which several fields, or several items, are on one line."""
_LOOKED_AT: Final = 16
"""Maximum number of earlier calls that are compared, newest first."""

Document = dict[str, Any]


class BadReferenceError(ValueError):
    """Error for a `$same` that refers to nothing before it, or that expands to too much."""


class Sharing:
    """Writer of the bodies of requests, in sequence."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, Document]] = deque(maxlen=_LOOKED_AT)
        self._bodies = EarlierBodies()
        """Bodies with neither references nor media."""

    def shorten(self, call: int, body: bytes) -> str | None:
        """Return the text of a JSON body; None for a body that is not an object, or that contains `$same` itself."""
        begin, end = self._bodies.new_part(body)
        if _may_have(_REFERENCE, body, begin, end):
            return None
        try:
            read = load(body)
        except (ValueError, RecursionError):
            return None
        if not isinstance(read, dict):
            return None
        document = cast("Document", read)
        if _may_have_media(body, begin, end):
            document = cast("Document", _without_media(document))
        else:
            self._bodies.add(body)
        short = {key: self._field(key, value, document) for key, value in document.items()}
        self._seen.append((call, document))
        return _in_lines(short)

    def _field(self, key: str, value: Any, document: Document) -> Any:
        """Return a field with references. Its document gets the objects that it shares with an earlier one."""
        if isinstance(value, (dict, list)) and _is_worth_it(cast("Any", value)):
            best, length = 0, 0
            shared: Any = None
            for call, earlier in reversed(self._seen):
                other = earlier.get(key)
                if _is_same(other, value):
                    document[key] = other
                    return {SAME: call}
                common = _common(value, other)
                if common > length:
                    best, length, shared = call, common, other
                if length and length >= len(cast("Any", value)) - _FEW:
                    break  # No other call is likely to share more.
            items = cast("list[Any]", value)
            if length and _is_worth_it(items[:length]):
                items[:length] = shared[:length]
                return [{SAME: [best, length]}, *items[length:]]
        return cast("Any", value)


def _is_worth_it(value: Mapping[str, Any] | Sequence[Any]) -> bool:
    """Estimate from the beginning of a value whether a reference would be shorter."""
    some: Any = dict(islice(value.items(), _FEW)) if isinstance(value, Mapping) else value[:_FEW]
    return len(dump_bytes(some)) >= _WORTH


def _may_have(text: bytes, body: bytes, begin: int, end: int) -> bool:
    return body.find(text, max(begin - len(text), 0), end + len(text)) >= 0


def _may_have_media(body: bytes, begin: int, end: int) -> bool:
    """Return quickly whether there may be media that touch this part of a body."""
    if _may_have(b";base64,", body, begin, end):
        return True
    part = body[max(begin - _LONGEST_KEY, 0) : end + _LONGEST_KEY]
    return any(before.endswith(_MEDIA_KEYS) for before in part.split(b'":'))


def _common(value: Any, other: Any) -> int:
    if not isinstance(value, list) or not isinstance(other, list):
        return 0
    pairs = zip(cast("Sequence[Any]", value), cast("Sequence[Any]", other), strict=False)
    count = 0
    for one, two in pairs:
        if not _is_same(one, two):
            break
        count += 1
    return count


def _is_same(one: Any, two: Any) -> bool:
    """Return whether two values have the same JSON. Python also takes 1, 1.0 and True for equal."""
    return one is two or (one == two and dump_bytes(one) == dump_bytes(two))


def _without_media(value: Any, key: str = "") -> Any:
    if isinstance(value, str):
        digest = digest_of_text(value, key=key)
        return value if digest is None else digest
    if isinstance(value, dict):
        return {name: _without_media(item, name) for name, item in cast("Document", value).items()}
    if isinstance(value, list):
        return [_without_media(item, key) for item in cast("Sequence[Any]", value)]
    return value


def _in_lines(value: Any) -> str:
    """Return the JSON of a request, with one line for each long field and for each item of a long list."""
    if not isinstance(value, Mapping) or not value:
        return dump(value, spaces=True)
    parts: list[str] = []
    short: list[str] = []
    for key, item in cast("Mapping[str, Any]", value).items():
        text = f"{dump(key)}: {_field(item)}"
        if len(text) <= _SHORT:
            short.append(text)
            continue
        parts += [", ".join(short)] if short else []
        parts.append(text)
        short = []
    parts += [", ".join(short)] if short else []
    return "{" + ",\n ".join(parts) + "}\n"


def _field(value: Any) -> str:
    if not isinstance(value, list):
        return dump(value, spaces=True)
    items = [_item(item) for item in cast("Sequence[Any]", value)]
    between = ", " if sum(map(len, items)) + 2 * len(items) <= _SHORT else ",\n  "
    return f"[{between.join(items)}]"


def _item(value: Any) -> str:
    """Return the text of an item, most often a message of a few texts, which orjson writes faster."""
    if isinstance(value, dict):
        texts = cast("dict[str, Any]", value)
        if all(isinstance(text, str) for text in texts.values()):
            try:
                members = [f"{_text(key)}: {_text(text)}" for key, text in texts.items()]
            except TypeError:  # a lone surrogate
                return dump(texts, spaces=True)
            return f"{{{', '.join(members)}}}"
    return dump(value, spaces=True)


def _text(text: str) -> str:
    return orjson.dumps(text).decode()


class Expansion:
    """Reader of the bodies, in sequence."""

    def __init__(self) -> None:
        self._seen: dict[int, Document] = {}
        self._size = 0

    def whole(self, call: int, text: str) -> bytes:
        """Return the whole body of a call. Raises BadReferenceError. Text that is not a JSON object is returned
        unchanged.
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
            raise BadReferenceError(f"with their references resolved, the requests have more than {MAX_BYTES >> 20} MB")
        return body

    def _field(self, key: str, value: Any) -> Any:
        if _is_reference(value):
            return self._named(value[SAME], key)
        if isinstance(value, list) and value and _is_reference(value[0]):
            said = cast("Document", value[0])[SAME]
            if not (isinstance(said, list) and len(cast("Sequence[Any]", said)) == 2):
                form = f'{{"{SAME}": [call, number of items]}}'
                raise BadReferenceError(f"{dump(value[0])} in {key!r} must have the form {form}")
            call, count = cast("Sequence[Any]", said)
            items = self._named(call, key)
            if (
                not isinstance(items, list)
                or not isinstance(count, int)
                or not 0 < count <= len(cast("Sequence[Any]", items))
            ):
                raise BadReferenceError(f"call {call} has no {count} items in {key!r}")
            return [*cast("Sequence[Any]", items)[:count], *cast("Sequence[Any]", value)[1:]]
        return cast("Any", value)

    def _named(self, call: Any, key: str) -> Any:
        if not isinstance(call, int) or call not in self._seen or key not in self._seen[call]:
            raise BadReferenceError(f"there is no earlier call {dump(call)} with {key!r}")
        return self._seen[call][key]


def _is_reference(value: Any) -> bool:
    return isinstance(value, Mapping) and len(cast("Document", value)) == 1 and SAME in value
