"""A request to a model service, reduced to its meaning. Two requests with the same meaning have the same key.

The key includes the protocol, operation, model, messages, tools by name, sampling, limits, and every unknown field. It
does not include the host, headers, white space, the order of keys, names of the caller, and cache hints
(`protocols`, `canonical`). Generated ids are numbered by their first appearance. So a request with new ids is the
same, but a request with a result for another call is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, cast

from pandaprobe_otel.mapping.values import type_of
from pandaprobe_otel.protocols.encoding import dump_bytes
from pandaprobe_otel.protocols.protocol import ParsedRequest
from pandaprobe_otel.replay.canonical import Ignored, Piece, digest_of, meaning_of
from pandaprobe_otel.replay.compared_requests import as_traced, parsed, unread
from pandaprobe_otel.replay.interactions import RecordedRequest

_GONE: Final = object()
_MAX_KNOWN_BYTES: Final = 16 << 20
"""Maximum size of the JSON values whose pieces are cached. Requests of a conversation repeat the earlier messages."""


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A request, reduced to its meaning.

    Attributes:
        protocol: `openai`, `anthropic`, `gemini`, `bedrock`, `cohere`, `ollama`; `http` for unknown protocols.
        operation: The operation, such as `chat`; the method of an `http` request.
        fields: The values that affect the answer. JSON texts are parsed, media are digests, and tools are keyed by
            name.
        pieces: The same values, each list of turns as one piece for each turn. Each piece has a digest.
    """

    protocol: str
    operation: str
    model: str | None
    fields: Mapping[str, Any]
    pieces: tuple[Piece, ...] = field(repr=False, compare=False)

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
        model = self._ignored.applied(found.model, at=("model",), gone=lambda: None)
        return ModelRequest(found.protocol, found.operation, model, _fields_of(pieces), pieces)

    def _pieces(self, request: ParsedRequest) -> Iterator[Piece]:
        for name in sorted(request.body):
            raw = request.body[name]
            if name == request.turns and type_of(raw) is list:
                turns = enumerate(cast("list[Any]", raw))
                yield from filter(None, (self._piece(request, name, turn, place) for place, turn in turns))
                continue
            piece = self._piece(request, name, raw, None)
            if piece is not None:
                yield piece

    def _piece(self, request: ParsedRequest, name: str, raw: Any, place: int | None) -> Piece | None:
        text = dump_bytes(raw)
        known = (name, request.data, place if self._ignored.by_place else None, text)
        if known in self._known:
            piece = self._known[known]
        else:
            piece = self._read(name, raw, place, data=request.data or name in ("tools", "functions"))
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


def _fields_of(pieces: Iterable[Piece]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for piece in pieces:
        if piece.index is None:
            fields[piece.name] = piece.value
        else:
            fields.setdefault(piece.name, []).append(piece.value)
    return fields
