"""Data for the tools: traces without secrets, their scores, and a new fence for each answer."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mcp.types import ResourceLink

from pandaprobe_otel.api.models import Model, Trace
from pandaprobe_otel.compact.fences import Fence
from pandaprobe_otel.compact.values import clipped
from pandaprobe_otel.mcp_server.searching import SearchingClient
from pandaprobe_otel.replay.scrubbing import Scrubber

TRACE_URI = "pandaprobe://trace/{trace_id}"
_MOST_TOKENS: Final = 200
_Kept = tuple[float, Mapping[str, Any]]
_KEPT: Final = 16
_KEPT_FOR_S: Final = 60.0
"""Number of traces that are kept, and for how long: an agent reads a trace part by part."""


@dataclass(frozen=True)
class Reading:
    """Reader through one client, whose rate limits all tools share."""

    client: SearchingClient
    new_number: Callable[[], str] = lambda: secrets.token_hex(4)
    scrubber: Scrubber = field(default_factory=Scrubber)

    clock: Callable[[], float] = time.monotonic
    _kept: dict[str, _Kept] = field(default_factory=dict[str, _Kept])

    def fence(self) -> Fence:
        """Return a fence with a new random number, which recorded content cannot contain."""
        return Fence(self.new_number())

    def fenced(self, text: str) -> str:
        """Return recorded text without secrets, cut where it is long, in a fence."""
        return self.fence().around(clipped(self.scrubber.text(text), _MOST_TOKENS))

    def trace(self, trace_id: str) -> Trace:
        """Return a trace in its stored form."""
        return self.client.traces.get(trace_id.strip())

    def body(self, trace_id: str) -> Mapping[str, Any]:
        """Return a trace without secrets. One that has ended is requested once a minute."""
        until, body = self._kept.get(trace_id.strip(), (0.0, {}))
        if self.clock() < until:
            return body
        trace = self.trace(trace_id)
        body = self.shown(trace)
        if trace.status in ("COMPLETED", "ERROR"):
            while len(self._kept) >= _KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[str(trace.trace_id)] = (self.clock() + _KEPT_FOR_S, body)
        return body

    def shown(self, model: Model) -> Mapping[str, Any]:
        """Return an answer of the API as JSON, without secrets."""
        shown: Mapping[str, Any] = self.scrubber.value(model.model_dump(mode="json"))
        return shown

    def scores(self, trace_id: str) -> Sequence[Mapping[str, Any]]:
        """Return the latest scores of a trace, without secrets."""
        return [self.shown(score) for score in self.client.scores.of_trace(trace_id.strip())]


def link_to(trace_id: str) -> ResourceLink:
    """Return the link to a whole trace as JSON."""
    uri = TRACE_URI.format(trace_id=trace_id)
    return ResourceLink(type="resource_link", uri=uri, name=f"trace {trace_id}", mime_type="application/json")
