"""Data for the tools: traces without secrets, their scores, and a new fence for each answer."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mcp.types import ResourceLink

from pandaprobe_otel.api.models import Model, Trace
from pandaprobe_otel.compact.fences import Fence
from pandaprobe_otel.compact.values import clipped
from pandaprobe_otel.mcp_server.searching import Searches, SearchingClient
from pandaprobe_otel.replay.scrubbing import Scrubber

TRACE_URI = "pandaprobe://trace/{trace_id}"
_MOST_TOKENS: Final = 200


@dataclass(frozen=True)
class Reading:
    """Reader through one client, whose rate limits all tools share."""

    client: SearchingClient
    new_number: Callable[[], str] = lambda: secrets.token_hex(4)
    scrubber: Scrubber = field(default_factory=Scrubber)

    def __post_init__(self) -> None:
        """Create the searches."""
        object.__setattr__(self, "searches", Searches(self.client))

    searches: Searches = field(init=False)

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
        """Return a trace without secrets."""
        return self.shown(self.trace(trace_id))

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
