"""Log lines about delivery: one for each cause, with the event and the remedy."""

from __future__ import annotations

import logging
from typing import Final

from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest, Step
from pandaprobe_otel.transport.verdict import Verdict, lacks_key

_HAD_TO_GO: Final = {
    "queue_full": "Traces are dropped: they arrive faster than PandaProbe accepts them, and the memory for waiting "
    "traces is used up (max_queue_bytes). Lower sample_rate, or raise PANDAPROBE_MAX_QUEUE_BYTES.",
    "spool_full": "Traces are dropped: they arrive faster than PandaProbe accepts them, and the spool is full "
    "(max_spool_bytes). The oldest are dropped first, traces with errors last.",
    "spool_damaged": "Traces in the spool are dropped: their file is damaged.",
    "expired": "Traces are dropped: they have waited in the spool for a week.",
}


class Causes:
    """Log lines. Each is logged once until its cause is over or an hour has passed."""

    def __init__(self, notices: Notices) -> None:
        self._notices = notices

    def over(self, cause: str) -> None:
        """End a cause, so that it is logged again if it returns."""
        self._notices.over(cause)

    def rate(self, verdict: Verdict) -> None:
        """Report a 429 although the budget was respected."""
        self._notices.say(
            "rate",
            f"PandaProbe limits the rate ({verdict.message}): another client uses this API key too. "
            "Traces wait and are sent later.",
        )

    def quota(self, verdict: Verdict) -> None:
        """Report a used-up plan."""
        self._notices.say(
            "quota",
            f"PandaProbe's quota is used up ({verdict.message}). Traces wait. Upgrade the plan, or lower sample_rate.",
            level=logging.ERROR,
        )

    def auth(self, verdict: Verdict) -> None:
        """Report a refused key, project or endpoint."""
        if lacks_key(verdict):
            told = "The PandaProbe at this endpoint requires an API key, and none is set: set PANDAPROBE_API_KEY."
        else:
            told = (
                f"PandaProbe refuses these settings ({verdict.message}). Check PANDAPROBE_API_KEY, "
                "PANDAPROBE_PROJECT_NAME and PANDAPROBE_ENDPOINT (`pandaprobe-otel doctor`)."
            )
        self._notices.say("auth", f"{told} Traces wait and are sent later.", level=logging.ERROR)

    def outage(self, verdict: Verdict) -> None:
        """Report a server that does not answer, or asks to retry later."""
        self._notices.say(
            "outage", f"PandaProbe cannot be reached ({verdict.message}). Traces wait and are sent later."
        )

    def fault(self, error: Exception) -> None:
        """Report an error of this library that cost a trace."""
        self._notices.say(
            "fault",
            f"Delivery of a trace failed inside pandaprobe-otel ({type(error).__name__}); please report this. "
            "The trace is dropped.",
            level=logging.ERROR,
        )

    def stumbled(self, error: Exception) -> None:
        """Report an error of this library that cost no trace."""
        self._notices.say(
            "stumbled",
            f"Delivery failed inside pandaprobe-otel ({type(error).__name__}); please report this. "
            "Traces wait and are sent later.",
            level=logging.ERROR,
        )

    def had_to_go(self, reason: str) -> None:
        """Report waiting traces that were dropped."""
        self._notices.say(reason, _HAD_TO_GO[reason])

    def overload(self) -> None:
        """Report that more traces arrive than can be sent, for minutes."""
        self._notices.say(
            "overload",
            "Traces are left out: for minutes, more have arrived than PandaProbe's limit allows. Errors, slow traces "
            "and the first of each name are kept; the others carry pandaprobe_otel.sample_rate in their metadata.",
        )

    def refused(self, reason: str, request: OutgoingRequest, verdict: Verdict) -> None:
        """Report a request that the server will never accept."""
        self._notices.say(
            f"{reason}: {verdict.message[:60]}",
            f"PandaProbe refused {request.target} ({request.name!r}): {verdict.message}. " + _cost(request),
            level=logging.ERROR,
        )

    def repaired(self, request: OutgoingRequest, verdict: Verdict) -> None:
        """Report a trace that is sent without the part that the server refused."""
        self._notices.say(
            f"repaired: {verdict.message[:60]}",
            f"PandaProbe refused part of trace {request.name!r} ({verdict.message}). It is sent without that part.",
        )

    def too_large(self, size: int, cap: int) -> None:
        """Report that the server accepts no body of this size."""
        self._notices.say(
            "too_large",
            f"PandaProbe (or a proxy in front of it) accepts no body of {size} bytes: traces are sent in parts of "
            f"{cap} bytes, and larger single values are cut.",
        )

    def never_stored(self, request: OutgoingRequest, after_s: float) -> None:
        """Report an append whose trace never appears on the server."""
        self._notices.say(
            "trace_lost",
            f"PandaProbe accepted trace {request.trace_id} but does not have it after {after_s:.0f} s; its later spans "
            "are dropped.",
        )

    def no_trace_of_score(self, request: OutgoingRequest, after_s: float) -> None:
        """Report a score whose trace never appears on the server."""
        self._notices.say(
            "trace_not_found",
            f"PandaProbe does not have trace {request.trace_id} after {after_s:.0f} s, so the score {request.name!r} "
            "is dropped. Pass the id of a trace that is sent to this project, as current_trace_id() returns it.",
        )

    def lost(self, request: OutgoingRequest) -> None:
        """Report an accepted trace that an audit did not find."""
        self._notices.say(
            "lost", f"PandaProbe accepted trace {request.trace_id} and then lost it; it is sent once more."
        )


def _cost(request: OutgoingRequest) -> str:
    """Return the sentence that names what a refused request costs."""
    if request.step is Step.SCORE:
        return f"The score {request.name!r} is dropped."
    return f"Its {len(request.spans)} spans are dropped."
