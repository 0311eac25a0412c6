"""The first request that no recorded call answers: its place, its differences, and the remedies.

There are several kinds: a changed request, one that came too early or too often, and calls that were never made.
Differences have the paths that `ignore=` accepts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import groupby, pairwise, takewhile
from typing import Any, Final

from pandaprobe_otel.mapping.values import type_of
from pandaprobe_otel.replay.call_order import ordinal
from pandaprobe_otel.replay.request_keys import Id, ModelRequest, Piece, digest_of, made_up, segments_of, step
from pandaprobe_otel.traces.comparison import diff_payloads
from pandaprobe_otel.traces.json_shapes import list_in, object_in


class EndOfRecording(BaseException):
    """The program has passed the end of the recording, as a test with `ends_at=` expects.

    Not an `Exception`, so that apps and frameworks do not handle it as a model failure and try again.
    """


class Divergence(AssertionError):
    """The program has made a request that differs from the recorded ones.

    Attributes:
        call: The number of the expected recorded call; for a tool, the number of the last model call before it.
        where: The spans around the request, and the request itself.
        path: The first field that differs, in the form of `ignore=`. Empty if the whole request is out of order.
        recorded: The recorded value; None if there was none.
        asked: The current value; None if there is none.
    """

    def __init__(
        self,
        text: str,
        *,
        call: int = 0,
        where: str = "",
        path: str = "",
        recorded: object = None,
        asked: object = None,
    ) -> None:
        super().__init__(text)
        self.call = call
        self.where = where
        self.path = path
        self.recorded = recorded
        self.asked = asked

    def again(self) -> Divergence:
        """Return an equal exception: raising the same one twice would keep the frames of both."""
        return copy(self)


# -- differences -------------------------------------------------------------------------------------------------------


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
    old, new = (
        {name: tuple(pieces) for name, pieces in groupby(request.pieces, key=lambda piece: piece.name)}
        for request in (recorded, asked)
    )

    def rank(name: str) -> tuple[int, str]:
        if name in _FIRST:
            return _FIRST.index(name), name
        is_turns = any(piece.index is not None for side in (old, new) for piece in side.get(name, ()))
        return len(_FIRST) + (not is_turns), name

    for name in sorted(old.keys() | new.keys(), key=rank):
        found += _of_pieces(old.get(name, ()), new.get(name, ()), pairing)
    return found


def _of_pieces(old: Sequence[Piece], new: Sequence[Piece], pairing: Pairing) -> Iterator[Difference]:
    """Yield the differences of two lists: added, removed and moved items, then changes inside the others."""
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
        if one.digest != other.digest or not pairing.fits(one.ids, other.ids):
            found = list(_of_values(one.value, other.value, other.path, pairing))
            yield from found or [Difference(other.path, one.value, other.value)]


def _of_values(old: Any, new: Any, path: str, pairing: Pairing) -> Iterator[Difference]:
    kind = type_of(old)
    if kind is not type_of(new):
        yield Difference(path, old, new)
    elif kind is dict:
        for name in sorted(old.keys() | new.keys()):
            inner = path + step(name)
            if name in old and name in new:
                yield from _of_values(old[name], new[name], inner, pairing)
            else:
                yield Difference(inner, old.get(name, NOTHING), new.get(name, NOTHING))
    elif kind is list:
        gone, fresh = ([Piece(path, at, one, *digest_of(one)) for at, one in enumerate(side)] for side in (old, new))
        yield from _of_pieces(gone, fresh, pairing)
    elif kind is Id:
        if not pairing.joins(old, new):
            yield Difference(path, old, new)
    elif kind is str:
        (text, ids), (other_text, other_ids) = made_up(old), made_up(new)
        if text != other_text or not pairing.fits(ids, other_ids):
            yield Difference(path, old, new)
    elif old != new:
        yield Difference(path, old, new)


# -- the text ----------------------------------------------------------------------------------------------------------

WAYS_ON: Final = "  accept: --pandaprobe-diverge=accept    record this call again: =rerecord    live from here: =live"
_MAX_LINES: Final = 12
_MAX_WIDTH: Final = 160
_MAX_OTHERS: Final = 3
_BEFORE: Final = 40
"""Number of characters that are shown before the first difference."""
_MOST: Final = 4000
"""Longest text, in characters, that is compared line by line."""
_DATE: Final = re.compile(
    r"""
    \d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?
    | \b\d{1,2}:\d\d(?::\d\d)?(?:[ ]?[AP]M)?\b
    | \b\d{1,2}[./]\d{1,2}[./]\d{2,4}\b
    | \b1[5-9]\d{8}(?:\d{3}|\.\d+)?\b
    | \b(?:Mon|Tue|Wednes|Thurs|Fri|Satur|Sun)day\b
    | \b(?:\d{1,2}\.?[ ])?(?:Jan|Feb|Mar|Apr|May|June?|July?|Aug|Sept?|Oct|Nov|Dec)[a-z]*\.?(?:[ ]\d{1,2})?
      (?:,?[ ]\d{4})?\b
    """,
    re.VERBOSE,
)
"""Dates, times, and seconds or milliseconds since 1970."""
_ANSWERED: Final = ("tool_call_id", "call_id", "tool_use_id", "toolUseId")
_GENERATED: Final = re.compile(r"\b(?=[\w-]*\d)[\w-]{8,}\b")
_SUGGESTED_DATE: Final = r"""re.compile(r"\d{4}-\d\d-\d\d[T \d:.Z+-]*")"""


def changed_lines(recorded: Any, asked: Any) -> list[str]:
    """Return a few short lines that show the change of a value."""
    old, new = _near(_shown(recorded), _shown(asked))
    signs = {"left": "-", "right": "+", "both": " "}
    lines = [f"{signs[line.side]}   {_short(line.text)}" for line in diff_payloads(old, new, context=1)]
    more = [f"    … {len(lines) - _MAX_LINES} more lines"] if len(lines) > _MAX_LINES else []
    return [*lines[:_MAX_LINES], *more]


def _difference_lines(found: Sequence[Difference], asked: ModelRequest) -> Iterator[str]:
    """Yield the lines about the differences of a request: the first with its values, the others by path."""
    first, *others = found
    yield f"  {_named(first, asked)}"
    if first.moved_to:
        yield f"    is now at {first.moved_to}"
    else:
        yield from changed_lines(first.recorded, first.asked)
    hint = _hint_of(first)
    if hint:
        yield hint
    if others:
        rest = len(others) - _MAX_OTHERS
        paths = ", ".join(one.path for one in others[:_MAX_OTHERS]) + (f" and {rest} more" if rest > 0 else "")
        yield f"  also: {paths}"


def _named(difference: Difference, asked: ModelRequest) -> str:
    """Return the place of a difference: the path, with the role of the turn and the call that it answers."""
    path = difference.path
    if head := re.match(r"(\w+)\[(\d+)\]", path):
        turns = list_in(asked.fields.get(head[1])) or []
        is_gone = difference.asked is NOTHING and head.end() == len(path)
        turn = difference.recorded if is_gone else next(iter(turns[int(head[2]) :]), None)
        path = f"{head[0]}{_label(object_in(turn) or {}, turns)}{path[head.end() :]}"
    if difference.moved_to:
        return f"{path} has moved"
    if difference.asked is NOTHING:
        return f"{path} is gone"
    return f"{path} is new" if difference.recorded is NOTHING else path


def _label(turn: dict[str, Any], turns: Sequence[Any]) -> str:
    """Return the role of a turn, and the tool and the ordinal of the call that it answers."""
    names: dict[str, str] = {}
    numbers: dict[str, int] = {}
    for call in _objects(turns):
        name = (object_in(call.get("function")) or call).get("name")
        ids = [one for one in call.values() if isinstance(one, Id) and one not in names]
        if isinstance(name, str) and ids:
            numbers[name] = numbers.get(name, 0) + 1
            names.update(dict.fromkeys(ids, f"{name} #{numbers[name]}"))
    parts = [str(turn[key]) for key in ("role", "type") if isinstance(turn.get(key), str)][:1]
    answered = next((one[key] for one in _objects(turn) for key in _ANSWERED if key in one), None)
    if answered in names and turn.get("type") != "function_call":
        parts.append(f"answers {names[answered]}")
    return f" ({', '.join(parts)})" if parts else ""


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    named = object_in(value)
    if named is not None:
        yield named
    for item in named.values() if named is not None else list_in(value) or ():
        yield from _objects(item)


def _equal_line(recorded: ModelRequest, asked: ModelRequest, found: Sequence[Difference], others: Sequence[int]) -> str:
    """Return the line that lists the parts that are equal to the recording, in this request and the previous ones."""
    heads = {segments_of(one.path)[0] for one in found}
    parts = ["model"] if recorded.model and "model" not in heads else []
    tools = object_in(recorded.fields.get("tools"))
    if tools and "tools" not in heads:
        parts.append(counted(len(tools), "tool"))
    old, new = ([piece for piece in one.pieces if piece.index is not None] for one in (recorded, asked))
    same = list(takewhile(lambda pair: pair[0].digest == pair[1].digest, zip(old, new, strict=False)))
    if same:
        parts.append(f"{old[0].name}[0{f'..{len(same) - 1}' if len(same) > 1 else ''}]")
    groups = [", ".join(parts)] if parts else []
    if others:
        groups.append(f"{numbers_text(others)} as recorded")
    return f"  equal: {'; '.join(groups)}" if groups else ""


def _hint_of(difference: Difference) -> str:
    """Return the line that suggests `ignore=`, if the difference looks like a date or an id."""
    old, new = difference.recorded, difference.asked
    kind = ""
    if isinstance(old, str) and isinstance(new, str):
        if _DATE.sub("", old) == _DATE.sub("", new):
            kind = "date"
        elif _GENERATED.sub("", old) == _GENERATED.sub("", new):
            kind = "generated id"
    elif all(isinstance(one, int | float) and 1e9 < one < 1e14 for one in (old, new)):
        kind = "time"
    if not kind:
        return ""
    path = f'"{difference.path}"'
    pattern = f" or ignore=[{_SUGGESTED_DATE}]; the recording's started_at has its time" if kind == "date" else ""
    return f"  looks like a {kind}: ignore=[{path}]{pattern}"


def numbers_text(numbers: Sequence[int]) -> str:
    """Return the numbers of calls as text: `call 1`, `calls 1 and 2`, `calls 1..5`."""
    if len(numbers) == 1:
        return f"call {numbers[0]}"
    if len(numbers) > 2 and all(other == one + 1 for one, other in pairwise(numbers)):
        return f"calls {numbers[0]}..{numbers[-1]}"
    shown = [str(one) for one in numbers[:8]]
    if len(numbers) > len(shown):
        return f"calls {', '.join(shown)} and {len(numbers) - len(shown)} more"
    return f"calls {', '.join(shown[:-1])} and {shown[-1]}"


def counted(number: int, thing: str) -> str:
    """Return a number and its noun: `2 tools`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _shown(value: Any) -> str:
    if value is NOTHING or value is None:
        return "" if value is NOTHING else "null"
    text = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and "\n" in value:
        return value
    return (
        text if len(text) <= _MAX_WIDTH or isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)
    )


def _near(old: str, new: str) -> tuple[str, str]:
    """Return both texts from shortly before their first difference, unless they are short."""
    if len(old) + len(new) <= _MOST and max(map(len, (*old.splitlines(), *new.splitlines())), default=0) <= _MAX_WIDTH:
        return old, new
    shorter = min(len(old), len(new))
    at = next((place for place in range(shorter) if old[place] != new[place]), shorter)
    begin = max(old.rfind("\n", 0, at) + 1, at - _BEFORE)
    begun = "…" if begin else ""
    return begun + old[begin : at + _MOST], begun + new[begin : at + _MOST]


def _short(line: str) -> str:
    return line if len(line) <= _MAX_WIDTH else f"{line[:_MAX_WIDTH]}…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A recorded call in its cassette.

    Attributes:
        call: Its number; for a tool, the number of the last model call before it.
        what: The call among others: `call 2 of 5`, or `tool look_up, 2nd call`.
        where: The spans around it, and the request.
        source: Its line in the file, if that is known.
    """

    call: int
    what: str
    where: str
    source: str = ""

    def divergence(self, lines: Iterable[str], **values: Any) -> Divergence:
        """Return the divergence at this place, with these lines unless they are empty."""
        text = [f"Divergence at {self.what}: {self.where}", *filter(None, lines), WAYS_ON]
        return Divergence("\n".join(text), call=self.call, where=self.where, **values)


def where(at: str, request: ModelRequest, number: int = 1) -> str:
    """Return the description of a call: the spans around it, its request, and its ordinal among similar ones."""
    asked = " ".join(filter(None, (request.operation, request.model or request.fields.get("path"))))
    last = at.rpartition(" > ")[2]
    if last == asked or last.startswith(f"{asked} ("):  # the call's own span
        return at
    which = f" ({ordinal(number)})" if number > 1 else ""
    return f"{at} > {asked}{which}" if at else f"{asked}{which}"


def changed(
    place: Place, recorded: ModelRequest, asked: ModelRequest, *, at: str, others: Sequence[int], twin: Place | None
) -> Divergence:
    """Return the divergence of a request that differs from the recorded one.

    Args:
        place: The nearest entry.
        recorded: The request of that entry.
        asked: The actual request.
        at: The path of the request, if it differs.
        others: The previous model calls, as recorded.
        twin: A call with the same request that was already used.
    """
    found = differences(recorded, asked)
    lines = [
        *_difference_lines(found, asked),
        f"  asked from: {at}" if at else "",
        "" if twin is None else f"  {twin.what} has the same request, but was already used",
        _equal_line(recorded, asked, found, others),
        f"  nearest: {place.source or place.what}",
    ]
    old, new = (None if one is NOTHING else one for one in (found[0].recorded, found[0].asked))
    return place.divergence(lines, path=found[0].path, recorded=old, asked=new)


def came_before(place: Place, missing: Sequence[Place]) -> Divergence:
    """Return the divergence of a known request that has not waited for others."""
    return place.divergence(
        [
            f"  call {place.call} came before {' and '.join(str(one.call) for one in missing[:8])}",
            f"  recorded: {missing[0].where} had ended before it began",
            f"  nearest: {place.source}" if place.source else "",
        ]
    )


def nothing_left(place: Place, *, of: str, twin: Place | None) -> Divergence:
    """Return the divergence of a request after all recorded calls were used."""
    again = "" if twin is None else f"  {twin.what} was made once more than it was recorded"
    return place.divergence([again, f"  the recording has {of}, and all were used"])


def never_made(left: Sequence[Place], *, what: str, are_tools: bool) -> Divergence:
    """Return the divergence of recorded calls that were never made."""
    unused = "allow unused calls: allow_unused=True" if are_tools else "name the last call of the test: ends_at="
    lines = [
        f"Divergence: never made: {what}",
        *(f"  {one.where}{f' ({one.source})' if one.source else ''}" for one in left[:5]),
        *([f"  and {len(left) - 5} more"] if len(left) > 5 else []),
        *(["  if the tool did run, its integration is off: call pandaprobe_otel.init()"] if are_tools else []),
        f"  rerecord: --pandaprobe-record=all    or {unused}",
    ]
    return Divergence("\n".join(lines), call=left[0].call, where=left[0].where)
