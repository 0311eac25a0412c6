"""Consecutive events that differ only in a text, each continuing the last, merged into one event.

Nearly all events of a stream are of this sort: the same JSON around the next few words. Decoding each event separately
is most of the cost of recording a stream. Here, only the first event of such a run is decoded. For the following
events, the bytes around the text are compared, and all texts are decoded at once. Events that may differ in anything
else are decoded separately.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, reduce
from itertools import islice
from operator import getitem
from typing import Any, Final

import orjson

from pandaprobe_otel_integrations._json import Object, obj

from .events import Blocks

Read = Callable[[bytes], Any]
Place = tuple[str | int, ...]
"""The path to a text inside an event's JSON: members and indexes; the last one is a member."""
_CONSTANT: Final = frozenset({"type", "role", "index", "id"})
"""Members beside a text that may be repeated."""


class Growth:
    """Finds the text of an event, if it is all that the event adds.

    Reading two otherwise equal events must give the same result as reading one event with both texts. `below` has the
    members around the pieces of an answer, and `texts` those with texts: members inside members, the last one empty.
    """

    __slots__ = ("_below", "_texts")

    def __init__(self, *below: str, texts: Mapping[str, Any]) -> None:
        self._below = below
        self._texts = texts

    def place(self, event: Object) -> Place | None:
        """Return the place of the text; None if there is none, or if the event adds anything else."""
        value: Any = event
        steps: list[str | int] = []
        below = iter(self._below)
        texts: Any = self._texts
        while value.__class__ is not str:
            if value.__class__ is list and len(value) == 1:
                value = value[0]
                steps.append(0)
            if value.__class__ is not dict or value.get("logprobs") or value.get("logprobsResult"):
                return None  # log probabilities of each token, even of two equal tokens
            name: Any = next(below, None)
            if name is None:
                for member, one in value.items():
                    if one and member not in _CONSTANT:
                        if name is not None:
                            return None
                        name = member
                texts = texts.get(name)
                if name is None or texts is None:
                    return None
            steps.append(name)
            value = value.get(name)
        return tuple(steps) if value and not texts else None


MAX_MISSES: Final = 3
"""Number of consecutive failed searches for a run after which the rest of a stream is decoded event by event."""
MAX_TAILS: Final = 64
"""Number of remembered byte sequences behind the text; there are several, because padding varies in length."""

# An escape must be complete, and so must a surrogate pair: two halves in two events would become one character.
_HEX: Final = rb"[0-9a-fA-F]"
_ESCAPE: Final = (
    rb'\\(?:["\\/bfnrt]|u(?:[0-9a-ce-fA-CE-F]%(x)b{3}|[dD][0-7]%(x)b{2}|[dD][89abAB]%(x)b{2}\\u[dD][c-fC-F]%(x)b{2}))'
    % {b"x": _HEX}
)
_TEXT: Final = re.compile(rb'[^"\\]*(?:%b[^"\\]*)*' % _ESCAPE)
# Padding at the end of events, which hides the length of the texts, and extra white space (Anthropic).
_END: Final = re.compile(rb'(?:,"(?:p|obfuscation)":"[0-9A-Za-z]*")?(?:\s*\})+\s*\Z')


def joined(blocks: Blocks, growing: Growth | None) -> Iterator[Object]:
    """Yield the JSON of the events, with each run merged into one event."""
    found, read = blocks.items, blocks.read
    at = misses = 0
    while at < len(found):
        block = found[at]
        at += 1
        data = read(block)
        if data is None:
            continue
        event = obj(data)
        if growing is not None and misses < MAX_MISSES and at < len(found):
            place = growing.place(event)
            if place is not None:
                count = _grow(event, place, block, read, found, at)
                misses = 0 if count else misses + 1
                at += count
        yield event


def _grow(data: Any, place: Place, block: bytes, read: Read, blocks: Sequence[bytes], at: int) -> int:
    """Extend the event's text by the texts of the following events from `at` on, and return their number."""
    run = _run(place, block, read, blocks[at])
    pieces = run.pieces(blocks, at) if run is not None else []
    more = _decoded(pieces)
    if not more:
        return len(pieces) if more is not None else 0
    around = reduce(getitem, place[:-1], data)
    around[place[-1]] += more
    return len(pieces)


class _Run:
    """The bytes that all events of a run share: those before and after the text."""

    __slots__ = ("_braces", "_head", "_stem", "_tail", "_tails")

    def __init__(self, head: bytes, tail: bytes) -> None:
        self._head = head
        self._tail = tail
        self._stem = _END.sub(b"", tail)
        self._braces = tail.count(b"}", len(self._stem))
        self._tails = {tail}

    def pieces(self, blocks: Sequence[bytes], at: int) -> list[bytes]:
        """Return the texts, still encoded, of the events from `at` on that belong to the run."""
        found = self._same(blocks, at)
        head, tails, start = self._head, self._tails, len(self._head)
        for index in range(at + len(found), len(blocks)):
            block = blocks[index]
            if not block.startswith(head):
                break
            end = _end(block, start)
            tail = block[end:]
            if tail not in tails and not self._is_alike(tail):
                break
            found.append(block[start:end])
        return found

    def has(self, block: bytes) -> bool:
        """Return whether an event belongs to the run."""
        return block.startswith(self._head) and self._is_alike(block[_end(block, len(self._head)) :])

    def _same(self, blocks: Sequence[bytes], at: int) -> list[bytes]:
        """Return the texts of the events from `at` on, up to the first with another end. Most ends are the same."""
        head, tail, found = self._head, self._tail, list[bytes]()
        start, stop = len(head), -len(tail)
        for block in islice(blocks, at, None):
            if not (block.startswith(head) and block.endswith(tail)):
                break
            found.append(block[start:stop])
        return _texts_at_first(found)

    def _is_alike(self, tail: bytes) -> bool:
        end = len(self._stem)
        alike = tail.startswith(self._stem) and _END.match(tail, end) and tail.count(b"}", end) == self._braces
        if alike and len(self._tails) < MAX_TAILS:
            self._tails.add(tail)
        return bool(alike)


def _run(place: Place, block: bytes, read: Read, following: bytes) -> _Run | None:
    """Return the run that starts with the event `block`; None if the event `following` is not part of it."""
    opening = _opening(str(place[-1])).search(block)
    if opening is None:
        return None
    start = opening.end()
    head, tail = block[:start], block[_end(block, start) :]
    run = _Run(head, tail)
    if not run.has(following):
        return None
    # Check that the text is at this place: without it, the place must be empty.
    bare = read(head + tail)
    return run if bare is not None and reduce(getitem, place, bare) == "" else None


def _texts_at_first(pieces: list[bytes]) -> list[bytes]:
    """Return the pieces before the first one that is empty or not JSON text."""
    whole = b"".join(pieces)
    if b"" not in pieces and whole.find(b'"') < 0 and whole.find(b"\\") < 0:
        return pieces
    bad = (at for at, piece in enumerate(pieces) if not piece or _TEXT.fullmatch(piece) is None)
    return pieces[: next(bad, len(pieces))]


def _end(block: bytes, start: int) -> int:
    """Return the place of the closing quote of the text that starts at `start`, or of its first incomplete escape."""
    if block.find(b"\\", start) < 0:  # `in` would first try it as a number, which takes longer than the search
        return block.find(b'"', start)
    match = _TEXT.match(block, start)
    return match.end() if match is not None else start


def _decoded(pieces: Iterable[bytes]) -> str | None:
    """Return the texts as one; None if they are not text, or if one ends within a character."""
    whole = b"".join(pieces)
    if not whole.isascii() and any(b"\x80" <= piece[:1] < b"\xc0" for piece in pieces):
        return None
    try:
        return str(orjson.loads(b'"%b"' % whole))
    except ValueError:
        return None


@lru_cache(maxsize=64)
def _opening(member: str) -> re.Pattern[bytes]:
    return re.compile(rb'"%b"\s*:\s*"' % re.escape(member.encode()))
