"""Paths of calls: the names of the spans around them, with ordinals for repeated names; and the order of calls
according to spans.

If a span begins in the same task as its parent, it comes after the siblings that began there and have ended. So calls
in the span come after calls in those siblings, in any thread or task. If none of these siblings overlap, as in a loop
that waits for each run of an agent, the program has waited for each of them.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import Any, Final

from opentelemetry.trace import get_current_span

from pandaprobe_otel.replay.current_task import Flow, flow_here, is_main, newest_task, task_number

MAX_PLACES: Final = 100_000
"""Maximum number of spans of a recording whose paths are known. Calls below later spans have none."""

_ORDINALS: Final = re.compile(r" \(\d+(?:st|nd|rd|th)\)(?= > |$)")
_Key = tuple[int, int]


@dataclass(slots=True, eq=False)
class _Row:
    """The spans with the same parent that began in one task, its own or the loop's, or each in a task of its own.

    Of the latter, each task must have been created after the last call of the span before. Tasks that a program creates
    at once are no row, even if their spans happen not to overlap.
    """

    last: _Place | None = None
    newest: int = 0
    """Number of the newest task at the last call."""
    overlaps: bool = False

    def add(self, place: _Place, *, created: int) -> None:
        """Add a span, whose task has this number; 0 for a task that has other spans of this row."""
        is_after = self.last is None or (_has_ended(self.last) and (not created or created > self.newest))
        self.overlaps = self.overlaps or not is_after
        place.row, place.previous, self.last = self, self.last, place
        self.newest = max(self.newest, newest_task(place.flow))


@dataclass(slots=True, eq=False)
class _Place:
    """A span, or everything outside of spans. Bits of integers represent sets of calls."""

    name: str
    flow: Flow
    above: _Place | None = None
    span: Any = None
    before: int = 0
    """Calls in spans that had ended before this span began."""
    done: int = 0
    """Calls in child spans that began in the same task as this span, and have ended."""
    calls: int = 0
    """Calls in this span and its descendants."""
    below: list[_Place] = field(default_factory=list["_Place"])
    """Spans with calls that began in the same task, and may still be running."""
    rows: dict[Flow, _Row] = field(default_factory=dict[Flow, _Row])
    row: _Row | None = None
    previous: _Place | None = None
    """The span before this one in its row."""


class Places:
    """Spans that have started since a recording was opened. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._root = _Place("", flow_here())
        self._places: dict[_Key, _Place] = {}
        self._times: dict[tuple[str, str], int] = {}
        self._calls: dict[int, _Place] = {}

    def started(self, span: Any, name: str) -> None:
        """Note the start of a span."""
        context = span.get_span_context()
        if not context.is_valid or len(self._places) >= MAX_PLACES:
            return
        parent = getattr(span, "parent", None)
        flow = flow_here()
        with self._lock:
            above = self._root if parent is None else self._places.get((parent.trace_id, parent.span_id), self._root)
            times = self._times[above.name, name] = self._times.get((above.name, name), 0) + 1
            own = name if times == 1 else f"{name} ({ordinal(times)})"
            place = self._places[context.trace_id, context.span_id] = _Place(
                f"{above.name} > {own}" if above.name else own, flow, above, span, before=_before(above, flow)
            )
            if flow == above.flow or (flow.thread is above.flow.thread and is_main(flow.task)):
                above.rows.setdefault(flow, _Row()).add(place, created=0)
            elif flow.thread is above.flow.thread and (created := task_number(flow.task)):
                above.rows.setdefault(flow._replace(task=None), _Row()).add(place, created=created)

    def current(self) -> str:
        """Return the path of the running code; empty outside of known spans."""
        return self._here().name

    def began(self, number: int) -> int:
        """Note a call in the current span; return the calls that precede it according to the spans."""
        flow = flow_here()
        with self._lock:
            place = self._calls[number] = self._here()
            found = _before(place, flow)
            here: _Place | None = place
            while here is not None:
                if not here.calls and here.above is not None and here.above.flow == here.flow:
                    here.above.below.append(here)
                here.calls |= 1 << number
                if here.row is not None:
                    here.row.newest = max(here.row.newest, newest_task(flow))
                here = here.above
        return found

    def waited_for(self, number: int) -> int:
        """Return the calls in the spans that the program waited for before it began a span around this call."""
        found = 0
        place: _Place | None = self._calls[number]
        while place is not None:
            before = place.previous if place.row is not None and not place.row.overlaps else None
            while before is not None and not before.calls:
                before = before.previous
            if before is not None:
                found |= before.calls
            place = place.above
        return found

    def _here(self) -> _Place:
        context = get_current_span().get_span_context()
        return self._places.get((context.trace_id, context.span_id), self._root)


def _before(above: _Place, flow: Flow) -> int:
    """Return the calls that precede anything that begins below a span in this thread and task."""
    if flow != above.flow:
        return above.before
    for one in filter(_has_ended, list(above.below)):
        above.done |= one.calls
        above.below.remove(one)
    return above.before | above.done


def _has_ended(place: _Place) -> bool:
    return getattr(place.span, "end_time", None) is not None


def ordinal(number: int) -> str:
    """Return a number as an ordinal."""
    last = number % 10 if number % 100 not in (11, 12, 13) else 0
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(last, 'th') }".replace(" ", "")


def without_ordinals(path: str) -> str:
    """Return a path without the ordinals of its spans."""
    return _ORDINALS.sub("", path)
