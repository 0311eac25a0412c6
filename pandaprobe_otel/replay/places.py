"""The places of calls: the names of the spans around them, with ordinals where a name comes again."""

from __future__ import annotations

import threading
from typing import Any, Final

from opentelemetry.trace import get_current_span

MAX_PLACES: Final = 100_000
"""Spans of one recording whose places are known; calls below later ones have none."""

_Key = tuple[int, int]


class Places:
    """The spans that have started since a recording was opened. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: dict[_Key, str] = {}
        self._times: dict[tuple[str, str], int] = {}

    def started(self, span: Any, name: str) -> None:
        """Take note of a span."""
        context = span.get_span_context()
        if not context.is_valid or len(self._names) >= MAX_PLACES:
            return
        parent = getattr(span, "parent", None)
        with self._lock:
            above = "" if parent is None else self._names.get((parent.trace_id, parent.span_id), "")
            times = self._times[above, name] = self._times.get((above, name), 0) + 1
            own = name if times == 1 else f"{name} ({ordinal(times)})"
            self._names[context.trace_id, context.span_id] = f"{above} > {own}" if above else own

    def current(self) -> str:
        """Return the place of what runs now; empty outside of the spans that are known."""
        context = get_current_span().get_span_context()
        return self._names.get((context.trace_id, context.span_id), "")


def ordinal(number: int) -> str:
    """Return a number as the place in a row."""
    last = number % 10 if number % 100 not in (11, 12, 13) else 0
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(last, 'th') }".replace(" ", "")
