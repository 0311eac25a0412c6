"""Times after which a trace counts as complete, and bounds on waiting for the rest of a trace."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Times in seconds of a monotonic clock."""

    settle_s: float = 0.5
    """Wait for another span while none is open (one may start just after its parent has ended)."""
    sooner_s: float = 0.4
    sooner_above_bytes: int = 1 << 20
    """Bytes of ended spans above which traces are complete sooner: spans take twice the memory of their JSON."""
    linger_s: float = 10.0
    """Wait for open spans after the root has ended (a stream may still be read)."""
    checkpoint_after_s: float = 300.0
    """Age at which a trace with an open root is sent as RUNNING, with the spans so far."""
    checkpoint_spans: int = 500
    checkpoint_bytes: int = 4 << 20
    append_every_s: float = 30.0
    """Interval at which a running trace is updated."""
    quiet_s: float = 5.0
    """Silence after which a trace with its root counts as complete if starts are not seen (exporter only)."""
    idle_look_s: float = 300.0
    """Interval for checking a trace without ended spans: the app may have dropped its spans."""
    rootless_s: float = 60.0
    """Silence after which a trace without its root counts as complete if starts are not seen."""
    live_timeout_s: float = 1.0
    """Longest wait for a local server that shows running spans."""


MAX_OPEN_TRACES = 10_000
MAX_OPEN_SPANS = 50_000
"""Bound on open spans, at about 300 bytes each (the app holds the spans). Beyond it, the oldest traces are given up."""
REMEMBERED_TRACES = 10_000
"""Bound on remembered traces, at about 200 bytes each; allows sending a late span after its trace."""
