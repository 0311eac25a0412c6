"""The first request that no recorded call answers: its place, its difference, and the remedies.

There are several kinds: a changed request, one that came too early or too often, and calls that were never made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from pandaprobe_otel.replay.call_order import ordinal
from pandaprobe_otel.replay.canonical import Id, segments_of
from pandaprobe_otel.replay.differences import NOTHING, Difference, differences, equal_turns
from pandaprobe_otel.replay.request_keys import ModelRequest
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
    """Return the place of a difference: the path, with the role of the turn or the change of a tool."""
    parts = segments_of(difference.path)
    if parts[0] in ("tools", "functions") and len(parts) == 2:
        if difference.asked is NOTHING:
            return f'"{parts[1]}" is gone from {parts[0]}'
        if difference.recorded is NOTHING:
            return f'"{parts[1]}" is new in {parts[0]}'
    head = re.match(r"\w+\[\d+\]", difference.path)
    label = _turn_label(difference, asked) if head else ""
    path = f"{head[0]}{label}{difference.path[head.end() :]}" if head else difference.path
    if difference.moved_to:
        return f"{path} has moved"
    if difference.asked is NOTHING:
        return f"{path} is gone"
    return f"{path} is new" if difference.recorded is NOTHING else path


def _equal_line(recorded: ModelRequest, asked: ModelRequest, found: Sequence[Difference], others: Sequence[int]) -> str:
    """Return the line that lists the parts that are equal to the recording, in this request and the previous ones."""
    heads = {segments_of(one.path)[0] for one in found}
    parts = [name for name in ("model",) if recorded.model and name not in heads]
    tools = object_in(recorded.fields.get("tools"))
    if tools and "tools" not in heads:
        parts.append(counted(len(tools), "tool"))
    name, count = equal_turns(recorded, asked)
    if count:
        parts.append(f"{name}[0]" if count == 1 else f"{name}[0..{count - 1}]")
    groups = [", ".join(parts)] if parts else []
    if others:
        groups.append(f"{calls(others)} as recorded")
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


def calls(numbers: Sequence[int]) -> str:
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


def _turn_label(difference: Difference, asked: ModelRequest) -> str:
    """Return the role of the turn with a difference, and the call that it answers."""
    name, place = segments_of(difference.path)[:2]
    turns = asked.fields.get(name)
    whole = difference.recorded if difference.asked is NOTHING and len(segments_of(difference.path)) == 2 else None
    found = object_in(whole if whole is not None else _item(turns, int(place)))
    if found is None:
        return ""
    parts = [str(found[key]) for key in ("role", "type") if isinstance(found.get(key), str)][:1]
    answered = next((one for one in _ids_in(found, ("tool_call_id", "call_id", "tool_use_id", "toolUseId"))), None)
    call = _names_of_calls(turns).get(answered or "")
    if call is not None and found.get("type") != "function_call":
        parts.append(f"answers {call}")
    return f" ({', '.join(parts)})" if parts else ""


def _item(turns: Any, place: int) -> Any:
    items = list_in(turns) or ()
    return items[place] if place < len(items) else None


def _names_of_calls(turns: Any) -> dict[str, str]:
    """Return the tool and the ordinal of each call in a conversation, by the call's id."""
    names: dict[str, str] = {}
    numbers: dict[str, int] = {}
    for call in _objects(turns):
        name = (object_in(call.get("function")) or call).get("name")
        one = next((call[key] for key in ("call_id", "toolUseId", "id") if isinstance(call.get(key), Id)), None)
        if isinstance(name, str) and one is not None and one not in names:
            numbers[name] = numbers.get(name, 0) + 1
            names[one] = f"{name} #{numbers[name]}"
    return names


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    named = object_in(value)
    if named is not None:
        yield named
    for item in named.values() if named is not None else list_in(value) or ():
        yield from _objects(item)


def _ids_in(value: Any, keys: Sequence[str]) -> Iterator[str]:
    for found in _objects(value):
        yield from (found[key] for key in keys if isinstance(found.get(key), Id))


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

    @property
    def head(self) -> str:
        """Return the first line of a text about this place."""
        return f"Divergence at {self.what}: {self.where}"


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
    lines = [place.head, *_difference_lines(found, asked)]
    if at:
        lines.append(f"  asked from: {at}")
    if twin is not None:
        lines.append(f"  {twin.what} has the same request, but was already used")
    lines += filter(None, (_equal_line(recorded, asked, found, others), f"  nearest: {place.source or place.what}"))
    first, old, new = found[0], *(None if one is NOTHING else one for one in (found[0].recorded, found[0].asked))
    text = "\n".join([*lines, WAYS_ON])
    return Divergence(text, call=place.call, where=place.where, path=first.path, recorded=old, asked=new)


def came_before(place: Place, missing: Sequence[Place]) -> Divergence:
    """Return the divergence of a known request that has not waited for others."""
    lines = [
        place.head,
        f"  call {place.call} came before {' and '.join(str(one.call) for one in missing[:8])}",
        f"  recorded: {missing[0].where} had ended before it began",
        *([f"  nearest: {place.source}"] if place.source else []),
        WAYS_ON,
    ]
    return Divergence("\n".join(lines), call=place.call, where=place.where)


def nothing_left(place: Place, *, of: str, twin: Place | None) -> Divergence:
    """Return the divergence of a request after all recorded calls were used."""
    lines = [place.head]
    if twin is not None:
        lines.append(f"  {twin.what} was made once more than it was recorded")
    lines += [f"  the recording has {of}, and all were used", WAYS_ON]
    return Divergence("\n".join(lines), call=place.call, where=place.where)


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
