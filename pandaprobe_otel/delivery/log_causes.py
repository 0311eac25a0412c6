"""Log lines about delivery: one for each cause, with the event and the remedy."""

from __future__ import annotations

import logging
from typing import Any, Final

from pandaprobe_otel.delivery.notices import Notices

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


def report(notices: Notices, line: str, *, cause: str | None = None, **values: Any) -> None:
    """Log a line of the tables with these values. `cause`: name of its cause, if it is not the name of the line."""
    is_error = line in _ERROR_LINES
    message = (_ERROR_LINES if is_error else _LINES)[line].format(**values)
    notices.say(cause or line, message, level=logging.ERROR if is_error else logging.WARNING)
