"""JSON of a request reduced to its meaning, independent of client, version and chance.

Texts that contain JSON are parsed, so that white space and the order of keys never count. Media become digests.
Generated ids are marked and are not part of the digests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, cast

import orjson

from pandaprobe_otel.mapping import exact_json
from pandaprobe_otel.mapping.values import type_of
from pandaprobe_otel.replay.shared_parts import DIGEST, digest_of_text, is_digest

IDS: Final = frozenset(
    {
        *("id", "tool_call_id", "call_id", "tool_use_id", "toolUseId", "toolCallId", "item_id", "response_id"),
        *("previous_response_id", "approval_request_id", "conversation", "container", "cachedContent"),
    }
)
"""Names of generated values, except inside data of the app."""
DATA: Final = frozenset(
    {
        *("arguments", "args", "input", "output", "response", "json", "parameters", "parametersJsonSchema", "schema"),
        *("input_schema", "inputSchema", "parameter_definitions", "responseSchema", "responseJsonSchema", "data"),
    }
)
"""Names of fields that the app or the model fills. An `id` inside them is ordinary data."""
IGNORED: Final = frozenset({"cache_control", "cachePoint"})
"""Names of fields that affect only the cost of a call."""
TEXT_PARTS: Final = frozenset({"text", "input_text", "output_text"})
_LONG_WORD: Final = re.compile(rb"\b[0-9A-Za-z_-]{15,}")
"""Long words, which may contain ids. Searching for them first is three times as fast."""
_MADE_UP: Final = re.compile(
    rb"(?<![0-9A-Za-z])(?:[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-f]{32}|"
    rb"(?:call|toolu|srvtoolu|tooluse|chatcmpl|cmpl|resp|msg|fc|rs|ws|ci|mcp|run|lc|thread|asst|gen|req|file|conv|item)"
    rb"[_-]+(?=[A-Za-z]*[0-9])[A-Za-z0-9]{12,})(?![0-9A-Za-z])"
)
"""Ids inside texts: UUIDs, with or without dashes, and ids of services, which begin with their kind."""
_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_SUBCLASS
_SEGMENT: Final = re.compile(r'\["([^"]*)"\]|\[([^\]]*)\]|([^.\[\]]+)')
_HIDDEN: Final = "…"
_EXACT: Final = 1 << 53
"""Bound up to which a float without a fraction is exact, so that it equals the integer."""


_MOST_BITS: Final = 63
_LARGE: Final = "…integer"
"""Key of the digits of an integer that orjson may not encode."""


class Id(str):
    """A generated id. Its characters do not count, only the places at which it occurs."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """A field of a request, or one turn of it.

    Attributes:
        index: The index of a turn in its list; None for a whole field.
        digest: The digest of the value without its ids.
        ids: The ids in the value, with repetitions.
    """

    name: str
    index: int | None
    value: Any
    digest: bytes
    ids: tuple[str, ...]

    @property
    def path(self) -> str:
        """Return the value's path, in the form of `ignore=`."""
        return self.name if self.index is None else f"{self.name}[{self.index}]"


def digest_of(value: Any) -> tuple[bytes, tuple[str, ...]]:
    """Return the digest of a result of `meaning_of` without its ids, and these ids."""
    ids: list[str] = []

    def out(found: Any) -> str:
        if type_of(found) is not Id:
            raise TypeError(f"a request cannot contain a {type_of(found).__name__}")
        ids.append(str(found))
        return "\0"

    text = _without_made_up(orjson.dumps(value, default=out, option=_OPTIONS), ids)
    return blake2b(text, digest_size=16).digest(), tuple(ids)


def made_up(text: str) -> tuple[str, tuple[str, ...]]:
    """Return a text without its ids, and these ids."""
    ids: list[str] = []
    return _without_made_up(text.encode("utf-8", "replace"), ids).decode(), tuple(ids)


def _without_made_up(text: bytes, ids: list[str]) -> bytes:
    def noted(match: re.Match[bytes]) -> bytes:
        ids.append(match[0].decode())
        return b"\0"

    def searched(match: re.Match[bytes]) -> bytes:
        word = match[0]
        if text[match.start() - 1 : match.start()] == b"\\":  # The letter belongs to an escape sequence, as in `\\n`.
            return word[:1] + _MADE_UP.sub(noted, word[1:])
        return _MADE_UP.sub(noted, word)

    return _LONG_WORD.sub(searched, text)


def meaning_of(value: Any, *, key: str = "", data: bool = False, patterns: Sequence[re.Pattern[str]] = ()) -> Any:
    """Return the meaning of a value in a request.

    Args:
        value: A result of a JSON parser.
        key: The key of the value.
        data: True if the app or the model has filled it. Ids, nulls and cache hints are then ordinary data.
        patterns: Patterns of the parts of texts that are hidden.
    """
    kind = type_of(value)
    if kind is str:
        return _text(value, key, data, patterns)
    if kind is dict:
        return _object(value, data, patterns)
    if kind is list:
        items = [meaning_of(item, key=key, data=data, patterns=patterns) for item in value if data or not _hint(item)]
        return items if data else _text_alone(items, key)
    if kind is float and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    if kind is int and value.bit_length() > _MOST_BITS:
        return {_LARGE: str(value)}
    return value


def _object(value: dict[str, Any], data: bool, patterns: Sequence[re.Pattern[str]]) -> Any:
    if is_digest(value):
        return {DIGEST: value[DIGEST]}
    if data:
        return {name: meaning_of(item, key=name, data=True, patterns=patterns) for name, item in value.items()}
    return {
        name: meaning_of(item, key=name, data=name in DATA, patterns=patterns)
        for name, item in value.items()
        if item is not None and name not in IGNORED
    }


def _text(text: str, key: str, data: bool, patterns: Sequence[re.Pattern[str]]) -> Any:
    if not data and key in IDS:
        return Id(text)
    digest = digest_of_text(text, key=key)
    if digest is not None:
        return {DIGEST: digest[DIGEST]}
    parsed = _parsed(text)
    if parsed is not None:
        return meaning_of(parsed, data=True, patterns=patterns)
    for pattern in patterns:
        text = pattern.sub(_HIDDEN, text)
    return text


def _parsed(text: str) -> Any:
    """Return the parsed JSON object or array in a text, such as arguments and results of tools."""
    if text[:1] not in ("{", "[") and text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return exact_json.loads(text)
    except ValueError:
        return None


def _hint(item: Any) -> bool:
    """Return whether an item of a list is only a cache hint: `{"cachePoint": …}` of Bedrock."""
    return type_of(item) is dict and bool(item) and IGNORED.issuperset(item)


def _text_alone(items: list[Any], key: str) -> Any:
    """Return the text of a list with a single text part.

    Services accept a text as well as such a list, and a cache hint requires the list.
    """
    if key not in ("content", "system", "output") or len(items) != 1 or type_of(items[0]) is not dict:
        return items
    part = cast("dict[str, Any]", items[0])
    return part["text"] if part.keys() == {"type", "text"} and part["type"] in TEXT_PARTS else items


def segments_of(path: str) -> tuple[str, ...]:
    """Return the steps of a path: both `messages[3].content` and `messages.3.content` have three."""
    return tuple(match[match.lastindex or 0] for match in _SEGMENT.finditer(path))


def step(name: str) -> str:
    """Return a name as a step of a path."""
    return f".{name}" if name and not re.search(r'[.\[\]"\s]', name) else f'["{name}"]'


@dataclass(frozen=True, slots=True)
class Ignored:
    """Parts of requests that a test ignores, by path or by pattern."""

    paths: tuple[tuple[str, ...], ...]
    patterns: tuple[re.Pattern[str], ...]
    by_place: bool
    """True if the index of a message in its list matters."""

    @classmethod
    def of(cls, ignore: Sequence[str | re.Pattern[str]]) -> Ignored:
        """Parse the value of `ignore=`."""
        paths = tuple(segments_of(one) for one in ignore if isinstance(one, str))
        patterns = tuple(one for one in ignore if not isinstance(one, str))
        return cls(paths, patterns, any(len(path) > 1 and path[1].isdigit() for path in paths))

    def applied(self, value: Any, *, at: Sequence[str], gone: Callable[[], Any]) -> Any:
        """Return the part of a value at these steps that is not ignored; return `gone` if nothing is left."""
        for path in self.paths:
            if len(path) >= len(at) and all(_fits(one, other) for one, other in zip(path, at, strict=False)):
                rest = path[len(at) :]
                if not rest:
                    return gone()
                value = _without(value, rest)
        return value


def _fits(wanted: str, found: str) -> bool:
    return wanted in ("*", found)


def _without(value: Any, path: Sequence[str]) -> Any:
    head, rest = path[0], path[1:]
    kind = type_of(value)
    if kind is dict:
        named = cast("dict[str, Any]", value)
        return {
            name: item if not _fits(head, name) else _without(item, rest)
            for name, item in named.items()
            if rest or not _fits(head, name)
        }
    if kind is list:
        items = cast("list[Any]", value)
        return [
            item if not _fits(head, str(place)) else _without(item, rest)
            for place, item in enumerate(items)
            if rest or not _fits(head, str(place))
        ]
    return value
