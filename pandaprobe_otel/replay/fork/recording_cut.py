"""The cut of a recorded run: calls that had ended before a span began are played back; later calls are made again.

Calls have no single order, so branches that ran beside the span may be played back too, as long as their requests stay
the same. A branch that receives a live answer makes other requests, which are sent.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.replay.interactions import Cassette, Interaction

_STEP = " > "
_ORDINAL = re.compile(r" \(\d+(?:st|nd|rd|th)\)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A cassette without the calls that are made again.

    Attributes:
        kept: The calls that are played back.
        before: Numbers of the calls that had ended before the span began. All of them must be made before anything is
            sent.
        gone: Numbers of the recorded calls that are not played back.
        first: The earliest of the calls that are not played back; None if there are none.
    """

    kept: Cassette
    before: frozenset[int]
    gone: tuple[int, ...] = ()
    first: Interaction | None = None


def whole(cassette: Cassette) -> Cut:
    """Return the cut that plays back everything: the recorded run itself."""
    return Cut(kept=cassette, before=frozenset(one.call for one in cassette.interactions))


def cut_from(cassette: Cassette, span: str | None) -> Cut:
    """Return the cut at a span. Without a span, no model call is played back.

    Args:
        cassette: The recorded run.
        span: The path of a span (`shop > search (2nd)`), a unique name, or the number of a call.

    Raises RecordingError if the span matches no recorded call or several spans.
    """
    if span is None:
        return _cut(cassette, {one.call for one in cassette.interactions})
    return _cut(cassette, _calls_of(cassette, span))


def _calls_of(cassette: Cassette, span: str) -> set[int]:
    """Return the calls that were made inside a span."""
    if span.isdecimal():
        numbers = {one.call for one in cassette.interactions} & {int(span)}
        if not numbers:
            raise RecordingError(f"there is no call {span}: the recording has {len(cassette.interactions)}.")
        return numbers
    wanted = span.split(_STEP)
    places: dict[str, set[int]] = {}
    for one in cassette.interactions:
        found = _place_in(one.at.split(_STEP), wanted)
        if found is not None:
            places.setdefault(found, set()).add(one.call)
    if len(places) > 1:
        names = "; ".join(one if _ORDINAL.search(one) else f"{one} (1st)" for one in sorted(places)[:8])
        raise RecordingError(f"{span!r} is the name of several spans: {names}. Name one of them.")
    if not places:
        known = sorted({one.at or f"call {one.call}" for one in cassette.interactions})
        raise RecordingError(f"no recorded call was made inside {span!r}. Spans with calls: {'; '.join(known[:8])}.")
    return next(iter(places.values()))


def _place_in(at: list[str], wanted: list[str]) -> str | None:
    """Return the path to the requested span, if it is on the path to a call."""
    for end in range(len(wanted), len(at) + 1):
        if all(map(_is_called, at[end - len(wanted) : end], wanted)):
            return _STEP.join(at[:end])
    return None


def _is_called(step: str, wanted: str) -> bool:
    """Return whether a step of a path has this name. A name without an ordinal matches all spans of that name."""
    return wanted in (step, _ORDINAL.sub("", step), f"{step} (1st)")


def _cut(cassette: Cassette, chosen: Collection[int]) -> Cut:
    """Return the cut without these calls, and without the calls that had waited for one of them."""
    above = _waited_for(cassette)
    gone = {number for number, others in above.items() if number in chosen or not others.isdisjoint(chosen)}
    kept = tuple(one for one in cassette.interactions if one.call not in gone)
    first = min((one for one in cassette.interactions if one.call in chosen), key=lambda one: one.call, default=None)
    before = frozenset[int]() if first is None else above[first.call] - gone
    return Cut(kept=replace(cassette, interactions=kept), before=before, gone=tuple(sorted(gone)), first=first)


def _waited_for(cassette: Cassette) -> dict[int, frozenset[int]]:
    """Return for each call the calls that had ended before it began."""
    above: dict[int, frozenset[int]] = {}
    for one in sorted(cassette.interactions, key=lambda one: one.call):
        nearest = [number for number in one.after if number in above]
        above[one.call] = frozenset(nearest).union(*(above[number] for number in nearest))
    return above
