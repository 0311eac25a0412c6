"""Kinds of divergences: a changed request, one that came too early or too often, and calls that were never made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pandaprobe_otel.replay.call_places import ordinal
from pandaprobe_otel.replay.differences import NOTHING, Difference, differences
from pandaprobe_otel.replay.divergence import Divergence
from pandaprobe_otel.replay.divergence_text import (
    WAYS_ON,
    calls,
    changed_lines,
    counted,
    difference_lines,
    equal_line,
    hint_of,
)
from pandaprobe_otel.replay.interactions import ToolCall
from pandaprobe_otel.replay.request_keys import ModelRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A recorded call in its cassette. `of` is the number of calls in the cassette."""

    call: int
    of: int
    where: str
    source: str = ""

    @property
    def head(self) -> str:
        """Return the first line of a text about this place."""
        return f"Divergence at call {self.call} of {self.of}: {self.where}"

    @property
    def nearest(self) -> str:
        """Return the line that names the place in the file."""
        return f"  nearest: {self.source}" if self.source else f"  nearest: call {self.call} of the recording"


def where(at: str, request: ModelRequest, number: int = 1) -> str:
    """Return the description of a call: the spans around it, its request, and its ordinal among similar ones."""
    asked = " ".join(filter(None, (request.operation, request.model or request.fields.get("path"))))
    last = at.rpartition(" > ")[2]
    if last == asked or last.startswith(f"{asked} ("):  # the call's own span
        return at
    which = f" ({ordinal(number)})" if number > 1 else ""
    return f"{at} > {asked}{which}" if at else f"{asked}{which}"


def changed(
    place: Place, recorded: ModelRequest, asked: ModelRequest, *, at: str, others: Sequence[int], twin: int | None
) -> Divergence:
    """Return the divergence of a request that differs from the recorded one.

    Args:
        place: The nearest entry.
        recorded: The request of that entry.
        asked: The actual request.
        at: The path of the request, if it differs.
        others: The previous calls, as recorded.
        twin: A call with the same request that was already used.
    """
    found = differences(recorded, asked)
    lines = [place.head, *difference_lines(found, asked)]
    if at:
        lines.append(f"  asked from: {at}")
    if twin is not None:
        lines.append(f"  call {twin} has the same request, but was already used")
    lines += filter(None, (equal_line(recorded, asked, found, others), place.nearest, WAYS_ON))
    return _of_first("\n".join(lines), place, found[0])


def came_before(place: Place, missing: Sequence[Place]) -> Divergence:
    """Return the divergence of a known request that has not waited for others."""
    first = missing[0]
    lines = [
        place.head,
        f"  call {place.call} came before {' and '.join(str(one.call) for one in missing[:8])}",
        f"  recorded: {first.where} had ended before it began",
        *([f"  nearest: {place.source}"] if place.source else []),
        WAYS_ON,
    ]
    return Divergence("\n".join(lines), call=place.call, where=place.where)


def nothing_left(asked: ModelRequest, *, at: str, of: int, twin: Place | None) -> Divergence:
    """Return the divergence of a request after all recorded calls were used."""
    here = where(at, asked)
    lines = [f"Divergence at call {of + 1}: {here}"]
    if twin is not None:
        lines.append(f"  call {twin.call} was made once more than it was recorded")
    lines += [f"  the recording has {counted(of, 'call')}, and all were used", WAYS_ON]
    return Divergence("\n".join(lines), call=of + 1, where=here)


def never_made(left: Sequence[Place]) -> Divergence:
    """Return the divergence of recorded calls that were never made."""
    first = left[0]
    lines = [
        f"Divergence: never made: {calls([one.call for one in left])} of {first.of}",
        *(f"  {one.where}{f' ({one.source})' if one.source else ''}" for one in left[:5]),
        *([f"  and {len(left) - 5} more"] if len(left) > 5 else []),
        "  rerecord: --pandaprobe-record=all    or name the last call of the test: ends_at=",
    ]
    return Divergence("\n".join(lines), call=first.call, where=first.where)


def tool_changed(name: str, *, number: int, found: Sequence[Difference], at: str, after: int) -> Divergence:
    """Return the divergence of a known tool with other arguments."""
    here = f"{at} > {name}" if at else name
    first, *others = found
    ending = " is gone" if first.asked is NOTHING else " is new" if first.recorded is NOTHING else ""
    lines = [
        f"Divergence at tool {name}, {ordinal(number)} call: {here}",
        f"  {first.path}{ending}",
        *changed_lines(first.recorded, first.asked),
        *filter(None, (hint_of(first),)),
        *([f"  also: {', '.join(one.path for one in others[:3])}"] if others else []),
        f"  after model call {after}" if after else "  before the first model call",
        WAYS_ON,
    ]
    text = "\n".join(lines)
    return _of_first(text, Place(call=after, of=after, where=here), first)


def tool_once_more(name: str, *, recorded: int, at: str, after: int) -> Divergence:
    """Return the divergence of a tool that is called more often than in the recording."""
    here = f"{at} > {name}" if at else name
    lines = [
        f"Divergence at tool {name}, {ordinal(recorded + 1)} call: {here}",
        f"  the recording has {counted(recorded, 'call')} of it, and all were used",
        f"  after model call {after}" if after else "  before the first model call",
        WAYS_ON,
    ]
    return Divergence("\n".join(lines), call=after, where=here)


def tools_never_called(left: Sequence[tuple[ToolCall, int]], *, after: int) -> Divergence:
    """Return the divergence of recorded tool calls that were never made, each with its number among the calls of its
    tool.
    """
    first, number = left[0]
    here = f"{first.at} > {first.name}" if first.at else first.name
    lines = [
        f"Divergence at tool {first.name}, {ordinal(number)} call: never called",
        *(f"  {call.at} > {call.name}" if call.at else f"  {call.name}" for call, _ in left[:5]),
        *([f"  and {len(left) - 5} more"] if len(left) > 5 else []),
        "  if the tool did run, its integration is off: call pandaprobe_otel.init()",
        "  rerecord: --pandaprobe-record=all    or allow unused calls: allow_unused=True",
    ]
    return Divergence("\n".join(lines), call=after, where=here)


def _of_first(text: str, place: Place, first: Difference) -> Divergence:
    recorded, asked = (None if one is NOTHING else one for one in (first.recorded, first.asked))
    return Divergence(text, call=place.call, where=place.where, path=first.path, recorded=recorded, asked=asked)
