"""A request to a model's service as what it asks: two that ask the same have one key.

What counts are protocol, operation, model, messages, tools by name, sampling, limits, and every field that is not known
to decide nothing. Host and headers do not count, nor spaces, the order of keys, what names the caller, hints for caches
(`protocols.asked`, `canonical`). Ids that are made up anew each time are named by their first appearance: a result that
is given to another call is another request, one whose ids are merely others is the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import Any, Final, cast
from urllib.parse import urlsplit

import orjson

from pandaprobe_otel.mapping.exact_types import type_of
from pandaprobe_otel.replay.canonical import Ignored, Piece, digest_of, meaning_of
from pandaprobe_otel.replay.interactions import RecordedRequest
from pandaprobe_otel.replay.protocols import anthropic, bedrock, cohere, gemini, ollama, openai, plain_http
from pandaprobe_otel.replay.protocols.parsed_request import Asked
from pandaprobe_otel.replay.protocols.tool_results import in_order
from pandaprobe_otel.replay.traced_requests import as_traced

_PROTOCOLS: Final = (bedrock.read, anthropic.read, gemini.read, openai.read, ollama.read, cohere.read)
_GONE: Final = object()
_MAX_KNOWN_BYTES: Final = 16 << 20
"""JSON whose pieces a reader remembers: messages come again in each request of a conversation."""


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A request as what it asks.

    Attributes:
        protocol: `openai`, `anthropic`, `gemini`, `bedrock`, `cohere`, `ollama`; `http` for all that is unknown.
        operation: What is asked of it, as `chat`; the method of an `http` request.
        fields: What decides the answer. Texts that are JSON are parsed, media are digests, tools stand by their name.
        pieces: The same, turn by turn, with digests.
    """

    protocol: str
    operation: str
    model: str | None
    fields: Mapping[str, Any]
    pieces: tuple[Piece, ...] = field(default=(), repr=False, compare=False)

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the made-up ids in it, each as often as it occurs: those of requests with one key are partners."""
        return tuple(one for piece in self.pieces for one in piece.ids)

    @property
    def key(self) -> str:
        """Return the digest of what is asked, ids renamed by first appearance."""
        pieces = self.pieces or tuple(_pieces_of(self.fields))
        found = blake2b(f"{self.protocol}\0{self.operation}\0{self.model}".encode("utf-8", "replace"), digest_size=16)
        numbers: dict[str, int] = {}
        for piece in pieces:
            found.update(f"\0{piece.name}\0{piece.index}\0".encode("utf-8", "replace"))
            found.update(piece.digest)
            for one in piece.ids:
                found.update(b"%d," % numbers.setdefault(one, len(numbers)))
        return found.hexdigest()

    def similarity(self, other: ModelRequest) -> float:
        """Return the part of what either request holds that both do: 1 if they are equal but for ids."""
        mine, others = ({(piece.name, piece.digest) for piece in one.pieces} for one in (self, other))
        return len(mine & others) / (len(mine | others) or 1)


def read_request(request: RecordedRequest, *, ignore: Sequence[str | re.Pattern[str]] = ()) -> ModelRequest:
    """Return what a request asks, without what `ignore` names: dotted paths, and patterns of what texts may hold."""
    return RequestReader(ignore).read(request)


class RequestReader:
    """Reads requests, and remembers the pieces of those before: a conversation repeats its messages each time."""

    def __init__(self, ignore: Sequence[str | re.Pattern[str]] = (), *, only_traced: bool = False) -> None:
        """`only_traced`: what a trace does not hold counts nowhere."""
        self._ignored = Ignored.of(ignore)
        self._only_traced = only_traced
        self._known: dict[tuple[str, bool, int | None, bytes], Piece | None] = {}
        self._known_bytes = 0

    def read(self, request: RecordedRequest) -> ModelRequest:
        """Return what a request asks; never raises for what it holds."""
        asked = as_traced(_asked(request)) if self._only_traced else _asked(request)
        try:
            pieces = tuple(self._pieces(asked))
        except (RecursionError, TypeError, ValueError):  # deeper than any client sends, or half a character
            asked = _unread(request)
            pieces = tuple(self._pieces(asked))
        model = self._ignored.applied(asked.model, at=("model",), gone=lambda: None)
        return ModelRequest(asked.protocol, asked.operation, model, _fields_of(pieces), pieces)

    def _pieces(self, asked: Asked) -> Iterator[Piece]:
        for name in sorted(asked.body):
            raw = asked.body[name]
            if name == asked.turns and type_of(raw) is list:
                turns = enumerate(cast("list[Any]", raw))
                yield from filter(None, (self._piece(asked, name, turn, place) for place, turn in turns))
                continue
            piece = self._piece(asked, name, raw, None)
            if piece is not None:
                yield piece

    def _piece(self, asked: Asked, name: str, raw: Any, place: int | None) -> Piece | None:
        text = orjson.dumps(raw)
        known = (name, asked.data, place if self._ignored.by_place else None, text)
        if known in self._known:
            piece = self._known[known]
        else:
            piece = self._read(name, raw, place, data=asked.data or name in ("tools", "functions"))
            self._remember(known, piece)
        if piece is None or piece.index == place:
            return piece
        return Piece(name, place, piece.value, piece.digest, piece.ids)

    def _read(self, name: str, raw: Any, place: int | None, *, data: bool) -> Piece | None:
        value = meaning_of(raw, key=name, data=data, patterns=self._ignored.patterns)
        at = (name,) if place is None else (name, str(place))
        value = self._ignored.applied(value, at=at, gone=lambda: _GONE)
        return None if value is _GONE else Piece(name, place, value, *digest_of(value))

    def _remember(self, known: tuple[str, bool, int | None, bytes], piece: Piece | None) -> None:
        size = len(known[-1])
        if self._known_bytes + size > _MAX_KNOWN_BYTES:
            self._known.clear()
            self._known_bytes = 0
        self._known[known] = piece
        self._known_bytes += size


def _asked(request: RecordedRequest) -> Asked:
    """Return a request as its protocol reads it."""
    url = urlsplit(request.uri)
    body = _json_of(request.body)
    if type_of(body) is dict and request.method.upper() == "POST":
        for read in _PROTOCOLS:
            asked = read(url.path.rstrip("/"), body)
            if asked is not None:
                return in_order(asked)
    if body is None and request.body:
        body = plain_http.body_of(request.body, _content_type(request))
    return plain_http.read(request.method, url.path, url.query, body)


def _unread(request: RecordedRequest) -> Asked:
    """Return a request with its body as mere text, since it cannot be read otherwise."""
    url = urlsplit(request.uri)
    # With a word before it, so that it is not taken for a text that is JSON.
    return plain_http.read(request.method, url.path, url.query, f"unread: {request.body.decode('utf-8', 'replace')}")


def _json_of(body: bytes) -> Any:
    try:
        return orjson.loads(body) if body else None
    except ValueError:
        return None


def _content_type(request: RecordedRequest) -> str:
    return next((value for name, value in request.headers.items() if name.lower() == "content-type"), "")


def _fields_of(pieces: Iterable[Piece]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for piece in pieces:
        if piece.index is None:
            fields[piece.name] = piece.value
        else:
            fields.setdefault(piece.name, []).append(piece.value)
    return fields


def _pieces_of(fields: Mapping[str, Any]) -> Iterator[Piece]:
    """Return the pieces of fields that were not read from a request."""
    whole = partial(Piece, index=None)
    for name in sorted(fields):
        digest, ids = digest_of(fields[name])
        yield whole(name, value=fields[name], digest=digest, ids=ids)
