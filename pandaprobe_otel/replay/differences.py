"""Differences of two requests, by the paths that `ignore=` accepts and divergences show, and pairs of generated ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import groupby, takewhile, zip_longest
from typing import Any, Final

from pandaprobe_otel.mapping.values import type_of
from pandaprobe_otel.replay.canonical import Id, Piece, digest_of, made_up, step
from pandaprobe_otel.replay.request_keys import ModelRequest


@dataclass(slots=True)
class Pairing:
    """Pairs of ids. If an id needs two partners, the requests differ in more than their ids."""

    there: dict[str, str] = field(default_factory=dict[str, str])
    back: dict[str, str] = field(default_factory=dict[str, str])

    def joins(self, recorded: str, asked: str) -> bool:
        """Pair two ids; return False if one of them has another partner."""
        return self.there.setdefault(recorded, asked) == asked and self.back.setdefault(asked, recorded) == recorded

    def fits(self, recorded: Sequence[str], asked: Sequence[str]) -> bool:
        """Pair ids, if all of them can be paired."""
        if len(recorded) != len(asked):
            return False
        trial = Pairing(dict(self.there), dict(self.back))
        if not all(trial.joins(*pair) for pair in zip(recorded, asked, strict=True)):
            return False
        self.there, self.back = trial.there, trial.back
        return True

    def learn(self, recorded: Sequence[str], asked: Sequence[str]) -> None:
        """Store these pairs. A later one replaces an earlier one."""
        for one, other in zip(recorded, asked, strict=False):
            self.there[one] = other
            self.back[other] = one

    def strangeness(self, recorded: Sequence[str], asked: Sequence[str]) -> int:
        """Return how different two lists of ids are: 0 for equal ids and for partners."""
        found = 0
        for one, other in zip(recorded, asked, strict=False):
            if one != other and self.there.get(one) != other:
                found += 2 if one in self.there or other in self.back else 1
        return found


_FIRST: Final = ("path", "system", "instructions", "systemInstruction", "tools", "functions", "toolConfig")
"""Fields in the order in which a reader looks for changes. Turns come after these, and all other fields last."""


class Nothing:
    """Class of `NOTHING`, which represents a missing value."""

    def __repr__(self) -> str:
        """Return "nothing", which stands for a missing value in texts."""
        return "nothing"


NOTHING: Final = Nothing()


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that differs. `NOTHING` represents a missing value.

    Attributes:
        moved_to: The new path of the value, if only its position has changed.
    """

    path: str
    recorded: Any
    asked: Any
    moved_to: str = ""


def differences(recorded: ModelRequest, asked: ModelRequest) -> list[Difference]:
    """Return the differences, in a reader's order.

    The result is empty if and only if both requests have the same key.
    """
    found = [
        Difference(name, one, other)
        for name in ("protocol", "operation", "model")
        if (one := getattr(recorded, name)) != (other := getattr(asked, name))
    ]
    pairing = Pairing()
    old, new = _by_name(recorded), _by_name(asked)
    for name in sorted(old.keys() | new.keys(), key=lambda one: _rank(one, old, new)):
        found += _of_field(name, old.get(name, ()), new.get(name, ()), pairing)
    return found


def equal_turns(recorded: ModelRequest, asked: ModelRequest) -> tuple[str, int]:
    """Return the field with the turns, and the number of equal turns at its beginning."""
    old = [piece for piece in recorded.pieces if piece.index is not None]
    new = [piece for piece in asked.pieces if piece.index is not None]
    same = list(takewhile(lambda pair: pair[0].digest == pair[1].digest, zip(old, new, strict=False)))
    return (old[0].name if old else "", len(same))


def _by_name(request: ModelRequest) -> dict[str, tuple[Piece, ...]]:
    return {name: tuple(pieces) for name, pieces in groupby(request.pieces, key=lambda piece: piece.name)}


def _rank(name: str, *sides: dict[str, tuple[Piece, ...]]) -> tuple[int, str]:
    if name in _FIRST:
        return _FIRST.index(name), name
    is_turns = any(piece.index is not None for side in sides for piece in side.get(name, ()))
    return len(_FIRST) + (not is_turns), name


def _of_field(name: str, old: Sequence[Piece], new: Sequence[Piece], pairing: Pairing) -> Iterator[Difference]:
    if any(piece.index is not None for piece in (*old, *new)):
        yield from _of_turns(old, new, pairing)
    elif not old or not new:
        yield Difference(name, _value(old), _value(new))
    else:
        yield from _of_pieces(old[0], new[0], pairing)


def _value(pieces: Sequence[Piece]) -> Any:
    return pieces[0].value if pieces else NOTHING


def _of_pieces(old: Piece, new: Piece, pairing: Pairing) -> Iterator[Difference]:
    if old.digest == new.digest and pairing.fits(old.ids, new.ids):
        return
    found = list(_of_values(old.value, new.value, new.path, pairing))
    yield from found or [Difference(new.path, old.value, new.value)]


def _of_turns(old: Sequence[Piece], new: Sequence[Piece], pairing: Pairing) -> Iterator[Difference]:
    """Yield the differences of two conversations: added, removed and moved turns, then changes inside the others."""
    matcher = SequenceMatcher(a=[one.digest for one in old], b=[one.digest for one in new], autojunk=False)
    blocks = [(tag, old[i1:i2], new[j1:j2]) for tag, i1, i2, j1, j2 in matcher.get_opcodes()]
    came = {piece.digest: piece.path for tag, _, fresh in blocks if tag != "equal" for piece in fresh}
    left = {piece.digest for tag, gone, _ in blocks if tag != "equal" for piece in gone}
    pairs: list[tuple[Piece, Piece]] = []
    for tag, gone, fresh in blocks:
        if tag == "equal":
            pairs += zip(gone, fresh, strict=True)
            continue
        for piece in gone:
            if piece.digest in came:
                yield Difference(piece.path, piece.value, NOTHING, moved_to=came[piece.digest])
        others = [piece for piece in gone if piece.digest not in came]
        strangers = [piece for piece in fresh if piece.digest not in left]
        both = min(len(others), len(strangers))
        pairs += zip(others[:both], strangers[:both], strict=True)
        yield from (Difference(piece.path, piece.value, NOTHING) for piece in others[both:])
        yield from (Difference(piece.path, NOTHING, piece.value) for piece in strangers[both:])
    for one, other in pairs:
        yield from _of_pieces(one, other, pairing)


def _of_values(old: Any, new: Any, path: str, pairing: Pairing) -> Iterator[Difference]:
    kind = type_of(old)
    if kind is not type_of(new):
        yield Difference(path, old, new)
    elif kind is dict:
        yield from _of_objects(old, new, path, pairing)
    elif kind is list:
        yield from _of_lists(old, new, path, pairing)
    elif kind is Id:
        if not pairing.joins(old, new):
            yield Difference(path, old, new)
    elif kind is str:
        (text, ids), (other_text, other_ids) = made_up(old), made_up(new)
        if text != other_text or not pairing.fits(ids, other_ids):
            yield Difference(path, old, new)
    elif old != new:
        yield Difference(path, old, new)


def _of_objects(old: dict[str, Any], new: dict[str, Any], path: str, pairing: Pairing) -> Iterator[Difference]:
    for name in sorted(old.keys() | new.keys()):
        inner = path + step(name)
        if name in old and name in new:
            yield from _of_values(old[name], new[name], inner, pairing)
        else:
            yield Difference(inner, old.get(name, NOTHING), new.get(name, NOTHING))


def _of_lists(old: list[Any], new: list[Any], path: str, pairing: Pairing) -> Iterator[Difference]:
    if len(old) == len(new):
        for place, pair in enumerate(zip(old, new, strict=True)):
            yield from _of_values(*pair, f"{path}[{place}]", pairing)
        return
    sides = [[digest_of(item)[0] for item in side] for side in (old, new)]
    for tag, i1, i2, j1, j2 in SequenceMatcher(a=sides[0], b=sides[1], autojunk=False).get_opcodes():
        for i, j in zip_longest(range(i1, i2), range(j1, j2)):
            if i is None or j is None:
                inner = f"{path}[{j if i is None else i}]"
                yield Difference(inner, NOTHING if i is None else old[i], NOTHING if j is None else new[j])
            elif tag != "equal" or digest_of(old[i])[1]:
                yield from _of_values(old[i], new[j], f"{path}[{j}]", pairing)
