"""A request to a model service, reduced to its meaning, independent of client, version and chance.

Two requests with the same meaning have the same key. The key includes the protocol, operation, model, messages, tools
by name, sampling, limits, and every unknown field. It does not include the host, headers, white space, the order of
keys, names of the caller, and cache hints. Texts that contain JSON are parsed, and media become digests. Generated ids
are numbered by their first appearance. So a request with new ids is the same, but a request with a result for another
call is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Final, cast

import orjson

from pandaprobe_otel.mapping import exact_json
from pandaprobe_otel.mapping.values import type_of
from pandaprobe_otel.protocols.encoding import dump_bytes
from pandaprobe_otel.protocols.protocol import ParsedRequest
from pandaprobe_otel.replay.compared_requests import (
    DATA,
    DIGEST,
    IDS,
    as_traced,
    digest_of_text,
    is_digest,
    parsed,
    unread,
)
from pandaprobe_otel.replay.interactions import RecordedRequest

_GONE: Final = object()
_MAX_KNOWN_BYTES: Final = 16 << 20
"""Maximum size of the JSON values whose pieces are cached. Requests of a conversation repeat the earlier messages."""
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

    def applied(self, value: Any, *, at: Sequence[str], gone: Any = None) -> Any:
        """Return the part of a value at these steps that is not ignored; return `gone` if nothing is left."""
        for path in self.paths:
            if len(path) >= len(at) and all(_fits(one, other) for one, other in zip(path, at, strict=False)):
                rest = path[len(at) :]
                if not rest:
                    return gone
                value = _without(value, rest)
        return value


def _fits(wanted: str, found: str) -> bool:
    return wanted in ("*", found)


def _without(value: Any, path: Sequence[str]) -> Any:
    head, *rest = path

    def kept(items: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
        for name, item in items:
            if not _fits(head, str(name)):
                yield name, item
            elif rest:
                yield name, _without(item, rest)

    if type_of(value) is dict:
        return dict(kept(value.items()))
    return [item for _, item in kept(enumerate(cast("list[Any]", value)))] if type_of(value) is list else value


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A request, reduced to its meaning.

    Attributes:
        protocol: `openai`, `anthropic`, `gemini`, `bedrock`, `cohere`, `ollama`; `http` for unknown protocols.
        operation: The operation, such as `chat`; the method of an `http` request.
        pieces: The values that affect the answer, with one piece for each turn. JSON texts are parsed, media are
            digests, and tools are keyed by name. Each piece has a digest.
    """

    protocol: str
    operation: str
    model: str | None
    pieces: tuple[Piece, ...]

    @property
    def fields(self) -> Mapping[str, Any]:
        """The values by name, turns as lists."""
        fields: dict[str, Any] = {}
        for piece in self.pieces:
            if piece.index is None:
                fields[piece.name] = piece.value
            else:
                fields.setdefault(piece.name, []).append(piece.value)
        return fields

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the request's generated ids, with repetitions. Ids of requests with the same key are partners."""
        return tuple(one for piece in self.pieces for one in piece.ids)

    @property
    def key(self) -> str:
        """Return the digest of the request, with ids renamed by first appearance."""
        found = blake2b(f"{self.protocol}\0{self.operation}\0{self.model}".encode("utf-8", "replace"), digest_size=16)
        numbers: dict[str, int] = {}
        for piece in self.pieces:
            found.update(f"\0{piece.name}\0{piece.index}\0".encode("utf-8", "replace"))
            found.update(piece.digest)
            for one in piece.ids:
                found.update(b"%d," % numbers.setdefault(one, len(numbers)))
        return found.hexdigest()

    def similarity(self, other: ModelRequest) -> float:
        """Return the share of content that two requests have in common; 1 if only their ids differ."""
        mine, others = ({(piece.name, piece.digest) for piece in one.pieces} for one in (self, other))
        return len(mine & others) / (len(mine | others) or 1)


class RequestReader:
    """Parser of requests that caches pieces, since a conversation repeats its messages in every request."""

    def __init__(self, ignore: Sequence[str | re.Pattern[str]] = (), *, only_traced: bool = False) -> None:
        """`only_traced`: ignore the parts that a trace does not record."""
        self._ignored = Ignored.of(ignore)
        self._only_traced = only_traced
        self._known: dict[tuple[str, bool, int | None, bytes], Piece | None] = {}
        self._known_bytes = 0

    def read(self, request: RecordedRequest) -> ModelRequest:
        """Parse a request. Never raises, whatever the content."""
        found = as_traced(parsed(request)) if self._only_traced else parsed(request)
        try:
            pieces = tuple(self._pieces(found))
        except (RecursionError, TypeError, ValueError):  # Deeper than any client sends, or a lone surrogate.
            found = unread(request)
            pieces = tuple(self._pieces(found))
        model = self._ignored.applied(found.model, at=("model",))
        return ModelRequest(found.protocol, found.operation, model, pieces)

    def arguments(self, arguments: Any) -> Piece:
        """Return the arguments of a tool call."""
        value = meaning_of(arguments, data=True, patterns=self._ignored.patterns)
        value = self._ignored.applied(value, at=("arguments",), gone={})
        return Piece("arguments", None, value, *digest_of(value))

    def _pieces(self, request: ParsedRequest) -> Iterator[Piece]:
        for name in sorted(request.body):
            raw = request.body[name]
            is_turns = name == request.turns and type_of(raw) is list
            for place, item in enumerate(cast("list[Any]", raw)) if is_turns else ((None, raw),):
                piece = self._piece(name, item, place, is_data=request.data)
                if piece is not None:
                    yield piece if piece.index == place else replace(piece, index=place)

    def _piece(self, name: str, raw: Any, place: int | None, *, is_data: bool) -> Piece | None:
        text = dump_bytes(raw)
        known = (name, is_data, place if self._ignored.by_place else None, text)
        if known not in self._known:
            is_data = is_data or name in ("tools", "functions")
            value = meaning_of(raw, key=name, data=is_data, patterns=self._ignored.patterns)
            at = (name,) if place is None else (name, str(place))
            value = self._ignored.applied(value, at=at, gone=_GONE)
            if self._known_bytes + len(text) > _MAX_KNOWN_BYTES:
                self._known.clear()
                self._known_bytes = 0
            self._known[known] = None if value is _GONE else Piece(name, place, value, *digest_of(value))
            self._known_bytes += len(text)
        return self._known[known]
