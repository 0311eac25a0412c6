"""Paths of calls: the names of the spans around them, with ordinals for repeated names; and the order of calls
according to spans.

If a span begins in the same task as its parent, it comes after the siblings that began there and have ended. So calls
in the span come after calls in those siblings, in any thread or task.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import Any, Final

from opentelemetry.trace import get_current_span

from pandaprobe_otel.replay.current_task import Flow, flow_here

MAX_PLACES: Final = 100_000
"""Maximum number of spans of a recording whose paths are known. Calls below later spans have none."""

_ORDINALS: Final = re.compile(r" \(\d+(?:st|nd|rd|th)\)(?= > |$)")
_Key = tuple[int, int]


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


class Places:
    """Spans that have started since a recording was opened. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._root = _Place("", flow_here())
        self._places: dict[_Key, _Place] = {}
        self._times: dict[tuple[str, str], int] = {}

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
            self._places[context.trace_id, context.span_id] = _Place(
                f"{above.name} > {own}" if above.name else own, flow, above, span, before=_before(above, flow)
            )

    def current(self) -> str:
        """Return the path of the running code; empty outside of known spans."""
        return self._here().name

    def began(self, number: int) -> int:
        """Note a call in the current span; return the calls that precede it according to the spans."""
        flow = flow_here()
        with self._lock:
            place = self._here()
            found = _before(place, flow)
            here: _Place | None = place
            while here is not None:
                if not here.calls and here.above is not None and here.above.flow == here.flow:
                    here.above.below.append(here)
                here.calls |= 1 << number
                here = here.above
        return found

    def _here(self) -> _Place:
        context = get_current_span().get_span_context()
        return self._places.get((context.trace_id, context.span_id), self._root)


def _before(above: _Place, flow: Flow) -> int:
    """Return the calls that precede anything that begins below a span in this thread and task."""
    if flow != above.flow:
        return above.before
    for one in [one for one in above.below if getattr(one.span, "end_time", None) is not None]:
        above.done |= one.calls
        above.below.remove(one)
    return above.before | above.done


def ordinal(number: int) -> str:
    """Return a number as an ordinal."""
    last = number % 10 if number % 100 not in (11, 12, 13) else 0
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(last, 'th') }".replace(" ", "")


def without_ordinals(path: str) -> str:
    """Return a path without the ordinals of its spans."""
    return _ORDINALS.sub("", path)
