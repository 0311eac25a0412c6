"""Log lines: one for each cause, not one for each trace, with the event and the remedy."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from typing import Any, Final

REPEAT_AFTER_S: Final = 3600.0
"""Time after which a continuing cause is logged again."""
COMES_BACK_AFTER_S: Final = 10.0
"""Shortest time between two log lines of a cause that comes and goes."""
MOST_CAUSES: Final = 200
"""Bound on distinguished causes. A cause may contain the server's words, which may differ each time."""

logger = logging.getLogger("pandaprobe_otel")

_LINES: Final = {
    "rate": "PandaProbe limits the rate ({words}): another client uses this API key too. {waiting}",
    "outage": "PandaProbe cannot be reached at {endpoint} ({words}). {waiting}",
    "failing": "PandaProbe fails at {endpoint} ({words}). {waiting}",
    "queue_full": "Traces are left out: they arrive faster than PandaProbe accepts them, and the memory for waiting "
    "traces is used up (max_queue_bytes). Errors, slow traces and the first of each name are kept; the others carry "
    "pandaprobe_otel.sample_rate in their metadata. Lower sample_rate, or raise PANDAPROBE_MAX_QUEUE_BYTES.",
    "spool_full": "Traces are left out: they arrive faster than PandaProbe accepts them, and the spool is full "
    "(max_spool_bytes). Errors, slow traces and the first of each name are kept; the others carry "
    "pandaprobe_otel.sample_rate in their metadata.",
    "spool_damaged": "Traces in the spool are dropped: their file is damaged.",
    "taken_over": "Another process sends this process's traces in the spool: it took over their file when this app "
    "closed descriptors that were not its own.",
    "expired": "Traces are dropped: they have waited in the spool for a week.",
    "repaired": "PandaProbe refused part of trace {parcel.name!r} ({words}). It is sent without that part.",
    "split": "PandaProbe (or a proxy in front of it) accepts no body of {size} bytes: traces are sent in parts of "
    "{cap} bytes, and larger single values are cut.",
    "trace_lost": "PandaProbe accepted trace {parcel.trace_id} but does not have it after {after_s:.0f} s; its later "
    "spans are dropped.",
    "trace_not_found": "PandaProbe does not have trace {parcel.trace_id} after {after_s:.0f} s, so the score "
    "{parcel.name!r} is dropped. Pass the id of a trace that is sent to this project, as current_trace_id() returns "
    "it.",
    "new_project": "Project {project!r} had no traces at PandaProbe before. If it is not new, check its name "
    "(PANDAPROBE_PROJECT_NAME): a misspelt name makes a new project.",
}
_ERROR_LINES: Final = {
    "quota": "PandaProbe's quota is used up ({words}). Upgrade the plan, or lower sample_rate. {waiting}",
    "auth": "PandaProbe at {endpoint} refuses these settings ({words}). Check PANDAPROBE_API_KEY, "
    "PANDAPROBE_PROJECT_NAME and PANDAPROBE_ENDPOINT (`pandaprobe-otel doctor`). {waiting}",
    "no_key": "PandaProbe at {endpoint} requires an API key and got none: set PANDAPROBE_API_KEY. {waiting}",
    "fault": "Delivery of a trace failed inside pandaprobe-otel ({error}); please report this. The trace is dropped.",
    "stumbled": "Delivery failed inside pandaprobe-otel ({error}); please report this. {waiting}",
    "refused": "PandaProbe refused {parcel.target} ({parcel.name!r}): {words}. Its {spans} spans are dropped.",
    "too_large": "PandaProbe (or a proxy in front of it) accepts no body of {size} bytes ({words}), and "
    "{parcel.name!r} is not made smaller. Its {spans} spans are dropped. Raise the proxy's bound (nginx: "
    "client_max_body_size).",
    "score_refused": "PandaProbe refused {parcel.target} ({parcel.name!r}): {words}. The score {parcel.name!r} is "
    "dropped.",
}
_ENDS: Final = {
    "outage": "PandaProbe answers again at {endpoint}. Waiting traces are sent.",
    "auth": "PandaProbe at {endpoint} accepts these settings again. Waiting traces are sent.",
    "quota": "PandaProbe accepts traces again: its quota is no longer used up. Waiting traces are sent.",
}
"""Lines at the level INFO for the ends of causes."""
IN_MEMORY: Final = "Traces wait in memory until the process ends; set PANDAPROBE_SPOOL_DIR to keep them."
IN_SPOOL: Final = "Traces wait in the spool and are sent later."
IN_FILE: Final = "Traces that are not sent stay in the file."


class Notices:
    """Logger of causes: each at most every ten seconds, and once an hour while it continues; and of their ends."""

    def __init__(
        self, monotonic: Callable[[], float], *, endpoint: str = "its endpoint", waiting: str = IN_MEMORY
    ) -> None:
        """`waiting`: where traces wait, as a sentence."""
        self._monotonic = monotonic
        self._facts = {"endpoint": endpoint, "waiting": waiting}
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
        """Log `message`, unless this cause was logged within ten seconds, or within the hour and is not over."""
        now = self._monotonic()
        with self._lock:
            cause = self._limited_cause(cause, now)
            if now < self._quiet_until.get(cause, -math.inf):
                return
            self._quiet_until[cause] = now + REPEAT_AFTER_S
            self._said_at[cause] = now
        logger.log(level, "%s", message)

    def report(self, line: str, *, cause: str | None = None, **values: Any) -> None:
        """Log a line about delivery. `cause`: name of its cause, if it is not the name of the line."""
        is_error = line in _ERROR_LINES
        message = (_ERROR_LINES if is_error else _LINES)[line].format(**self._facts, **values)
        self.say(cause or line, message, level=logging.ERROR if is_error else logging.WARNING)

    def over(self, cause: str) -> None:
        """End a cause, and log that. If the cause returns, it is logged again, but not within ten seconds."""
        if cause not in self._said_at:
            return
        with self._lock:
            said_at = self._said_at.pop(cause, None)
            if said_at is not None:
                self._quiet_until[cause] = said_at + COMES_BACK_AFTER_S
        if said_at is not None and cause in _ENDS:
            logger.info("%s", _ENDS[cause].format(**self._facts))

    def _limited_cause(self, cause: str, now: float) -> str:
        """Return the cause; if there are too many, return only its kind.

        The kind is the text before the colon, which comes from the source code.
        """
        if cause in self._quiet_until or len(self._quiet_until) < MOST_CAUSES:
            return cause
        self._quiet_until = {known: until for known, until in self._quiet_until.items() if until > now}
        self._said_at = {known: at for known, at in self._said_at.items() if known in self._quiet_until}
        return cause if len(self._quiet_until) < MOST_CAUSES else cause.partition(":")[0]
