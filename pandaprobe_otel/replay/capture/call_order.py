"""The order of the calls of a trace: each comes after those that it must have waited for, as far as spans show this.

Times alone are not enough: a branch may have ended by chance before another one began. Steps below one span that
overlap, directly or through steps between them, are branches. Calls in one branch do not wait for those in another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pandaprobe_otel.replay.capture.stored_trace import StoredTrace
from pandaprobe_otel.traces.records import SpanRecord

_ROOTS = ""


def order_of(trace: StoredTrace) -> Mapping[int, tuple[int, ...]]:
    """Return for each model call, by number, the calls that directly precede it."""
    calls = trace.model_calls
    groups = _groups(trace)
    ways = [[one.id for one in (*reversed(list(call.above)), call)] for call in calls]
    implied: dict[int, set[int]] = {}
    found: dict[int, tuple[int, ...]] = {}
    for number, call in enumerate(calls, 1):
        direct: list[int] = []
        known: set[int] = set()
        for one in range(number - 1, 0, -1):
            is_before = calls[one - 1].ended <= call.started and one not in known
            if is_before and not _are_branches(ways[one - 1], ways[number - 1], groups):
                direct.append(one)
                known |= {one, *implied[one]}
        implied[number] = known
        found[number] = tuple(sorted(direct))
    return found


def _are_branches(way: Sequence[str], other: Sequence[str], groups: Mapping[str, int]) -> bool:
    """Return whether two paths from the root separate at concurrent steps."""
    for one, two in zip(way, other, strict=False):
        if one != two:
            return groups[one] == groups[two]
    return False


def _groups(trace: StoredTrace) -> Mapping[str, int]:
    """Return for each span id its group of overlapping steps below the same parent."""
    below: dict[str, list[SpanRecord]] = {}
    for span in trace.spans:
        parent = span.parent
        below.setdefault(_ROOTS if parent is None else parent.id, []).append(span)
    found: dict[str, int] = {}
    for steps in below.values():
        found.update(_overlapping(steps))
    return found


def _overlapping(steps: Iterable[SpanRecord]) -> Mapping[str, int]:
    found: dict[str, int] = {}
    group, last = 0, None
    for step in steps:
        if last is not None and step.started >= last:
            group += 1
        last = step.ended if last is None else max(last, step.ended)
        found[step.id] = group
    return found
