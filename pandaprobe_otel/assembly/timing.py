"""When a trace is complete, and how long one that is not may be held back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """All times in seconds of a monotonic clock."""

    settle_s: float = 0.5
    """No span is open: wait this long for another one (a span that starts just after its parent ended)."""
    linger_s: float = 10.0
    """The root has ended, but others are open (a stream that is still read): wait this long for them."""
    checkpoint_after_s: float = 300.0
    """The root has not ended: from this age on, what there is goes out as a RUNNING trace."""
    checkpoint_spans: int = 500
    checkpoint_bytes: int = 4 << 20
    append_every_s: float = 30.0
    """A running trace is brought up to date this often."""
    quiet_s: float = 5.0
    """Without span starts (exporter alone): the root has arrived, and nothing more for this long."""
    idle_look_s: float = 300.0
    """A trace of which nothing has ended is looked at this often: its spans may be gone."""
    rootless_s: float = 60.0
    """Without span starts: the root has not arrived for this long after the last span."""


MAX_OPEN_TRACES = 10_000
MAX_OPEN_SPANS = 50_000
"""About 300 bytes each, since the spans are the app's. Over it, the oldest traces are waited for no longer."""
REMEMBERED_TRACES = 10_000
"""About 200 bytes each: enough to send a late span after its trace."""
