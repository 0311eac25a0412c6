"""Log lines: one for each cause, not one for each trace, with the event and the remedy."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from typing import Any, Final

REPEAT_AFTER_S: Final = 3600.0
"""Time after which a continuing cause is logged again."""
COMES_BACK_AFTER_S: Final = 60.0
"""Shortest time between two log lines of a cause that comes and goes."""
MOST_CAUSES: Final = 200
"""Bound on distinguished causes. A cause may contain the server's words, which may differ each time."""

logger = logging.getLogger("pandaprobe_otel")

_LINES: Final = {
    "rate": "PandaProbe limits the rate ({words}): another client uses this API key too. Traces wait and are sent "
    "later.",
    "outage": "PandaProbe cannot be reached ({words}). Traces wait and are sent later.",
    "queue_full": "Traces are dropped: they arrive faster than PandaProbe accepts them, and the memory for waiting "
    "traces is used up (max_queue_bytes). Lower sample_rate, or raise PANDAPROBE_MAX_QUEUE_BYTES.",
    "spool_full": "Traces are dropped: they arrive faster than PandaProbe accepts them, and the spool is full "
    "(max_spool_bytes). The oldest are dropped first, traces with errors last.",
    "spool_damaged": "Traces in the spool are dropped: their file is damaged.",
    "expired": "Traces are dropped: they have waited in the spool for a week.",
    "overload": "Traces are left out: for minutes, more have arrived than PandaProbe's limit allows. Errors, slow "
    "traces and the first of each name are kept; the others carry pandaprobe_otel.sample_rate in their metadata.",
    "repaired": "PandaProbe refused part of trace {request.name!r} ({words}). It is sent without that part.",
    "too_large": "PandaProbe (or a proxy in front of it) accepts no body of {size} bytes: traces are sent in parts of "
    "{cap} bytes, and larger single values are cut.",
    "trace_lost": "PandaProbe accepted trace {request.trace_id} but does not have it after {after_s:.0f} s; its later "
    "spans are dropped.",
    "trace_not_found": "PandaProbe does not have trace {request.trace_id} after {after_s:.0f} s, so the score "
    "{request.name!r} is dropped. Pass the id of a trace that is sent to this project, as current_trace_id() returns "
    "it.",
    "lost": "PandaProbe accepted trace {request.trace_id} and then lost it; it is sent once more.",
}
_ERROR_LINES: Final = {
    "quota": "PandaProbe's quota is used up ({words}). Traces wait. Upgrade the plan, or lower sample_rate.",
    "auth": "PandaProbe refuses these settings ({words}). Check PANDAPROBE_API_KEY, PANDAPROBE_PROJECT_NAME and "
    "PANDAPROBE_ENDPOINT (`pandaprobe-otel doctor`). Traces wait and are sent later.",
    "no_key": "The PandaProbe at this endpoint requires an API key, and none is set: set PANDAPROBE_API_KEY. Traces "
    "wait and are sent later.",
    "fault": "Delivery of a trace failed inside pandaprobe-otel ({error}); please report this. The trace is dropped.",
    "stumbled": "Delivery failed inside pandaprobe-otel ({error}); please report this. Traces wait and are sent later.",
    "refused": "PandaProbe refused {request.target} ({request.name!r}): {words}. Its {request.span_count} spans are "
    "dropped.",
    "score_refused": "PandaProbe refused {request.target} ({request.name!r}): {words}. The score {request.name!r} is "
    "dropped.",
}


class Notices:
    """Logger of causes: each at most once a minute, and once an hour while it continues."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self.reset()

    def reset(self) -> None:
        """Forget the logged causes, and the lock of a parent process."""
        self._lock = threading.Lock()
        self._quiet_until: dict[str, float] = {}
        self._said_at: dict[str, float] = {}

    @property
    def causes(self) -> int:
        """Number of remembered causes."""
        return len(self._quiet_until)

    def say(self, cause: str, message: str, *, level: int = logging.WARNING) -> None:
        """Log `message`, unless this cause was logged within the minute, or within the hour and is not over."""
        now = self._monotonic()
        with self._lock:
            cause = self._told_apart(cause, now)
            if now < self._quiet_until.get(cause, -math.inf):
                return
            self._quiet_until[cause] = now + REPEAT_AFTER_S
            self._said_at[cause] = now
        logger.log(level, "%s", message)

    def report(self, line: str, *, cause: str | None = None, **values: Any) -> None:
        """Log a line about delivery. `cause`: name of its cause, if it is not the name of the line."""
        is_error = line in _ERROR_LINES
        message = (_ERROR_LINES if is_error else _LINES)[line].format(**values)
        self.say(cause or line, message, level=logging.ERROR if is_error else logging.WARNING)

    def over(self, cause: str) -> None:
        """End a cause: if it returns, it is logged again, but not within the minute."""
        if cause not in self._said_at:
            return
        with self._lock:
            if (said_at := self._said_at.pop(cause, None)) is not None:
                self._quiet_until[cause] = said_at + COMES_BACK_AFTER_S

    def _told_apart(self, cause: str, now: float) -> str:
        """Return the cause; if there are too many, return only its kind.

        The kind is the text before the colon, which comes from the source code.
        """
        if cause in self._quiet_until or len(self._quiet_until) < MOST_CAUSES:
            return cause
        self._quiet_until = {known: until for known, until in self._quiet_until.items() if until > now}
        self._said_at = {known: at for known, at in self._said_at.items() if known in self._quiet_until}
        return cause if len(self._quiet_until) < MOST_CAUSES else cause.partition(":")[0]
