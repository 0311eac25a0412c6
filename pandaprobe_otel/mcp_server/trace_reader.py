"""Traces without secrets for the tools, and their answers: text in a fence with numbers beside it, and refusals."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from mcp.types import CallToolResult, ContentBlock, ResourceLink, TextContent

from pandaprobe_otel.api.models import Model, Trace
from pandaprobe_otel.compact.overview import NoPart, StaleCursor
from pandaprobe_otel.compact.values import Fence, clipped, inert
from pandaprobe_otel.errors import (
    AuthError,
    ConfigError,
    InvalidRequest,
    NotFound,
    PandaProbeError,
    PermissionDenied,
    QuotaExceeded,
    RateLimited,
)
from pandaprobe_otel.local.search.searchable_fields import FIELDS, SearchError
from pandaprobe_otel.mcp_server.searching import NotFiltered, SearchingClient
from pandaprobe_otel.replay.scrubbing import Scrubber


class Refused(Exception):
    """A refused call: its code, the reason, and the next step.

    `recorded` is what a traced program may have written, such as names of its spans: it is shown in a fence.
    """

    def __init__(self, code: str, why: str, step: str = "", *, recorded: str = "") -> None:
        super().__init__(why)
        self.code = code
        self.step = step
        self.recorded = recorded


_REFUSALS: Final[Sequence[tuple[Any, str, str]]] = (
    (NotFiltered, "bad_query", "search with these alone, and look at the traces"),
    (StaleCursor, "stale_cursor", "ask again without the cursor"),
    (NoPart, "bad_part", "use a handle from get_trace's answer"),
    (NotFound, "not_found", "use find_traces to list the existing traces"),
    (RateLimited, "rate_limited", "ask again"),
    (QuotaExceeded, "refused", "tell the person: the plan's quota is used up"),
    (InvalidRequest, "bad_arguments", "mend the arguments"),
    ((AuthError, ConfigError, PermissionDenied), "refused", "tell the person; doctor names the setting"),
    (PandaProbeError, "upstream", "ask again later; doctor checks whether PandaProbe answers"),
)
"""Code and next step of each error of the library."""


@contextmanager
def told() -> Generator[None]:
    """Turn errors of the library into Refused."""
    try:
        yield
    except SearchError as error:
        fields = ", ".join(field.example for field in FIELDS.values())
        where = f"{error} (at character {error.position + 1})"
        raise Refused("bad_query", where, f"use these fields: {fields}, error, running, scored") from None
    except (NotFiltered, NoPart, PandaProbeError) as error:
        code, step = next((code, step) for kind, code, step in _REFUSALS if isinstance(error, kind))
        if isinstance(error, InvalidRequest) and any(one.field == "query" for one in error.errors):
            code, step = "bad_query", "mend the query"
        if isinstance(error, RateLimited) and error.retry_after is not None:
            step += f" in {error.retry_after:.0f} s"
        raise Refused(code, str(error), step) from None


_MOST: Final = 600
"""Maximum number of characters of an error's text."""


def answer(text: str, numbers: Mapping[str, Any], *, links: Sequence[ResourceLink] = ()) -> CallToolResult:
    """Return text for the model. `numbers` contain nothing that a traced program has written."""
    content: list[ContentBlock] = [TextContent(type="text", text=text), *links]
    return CallToolResult(content=content, structured_content=dict(numbers))


def refusal(error: Refused, recorded: str) -> CallToolResult:
    """Return an error in the forms for a model and for a program. `recorded` is empty or already inside a fence."""
    lines = [f"{error.code}: {inert(str(error))[:_MOST]}", recorded, f"Next: {error.step}" if error.step else ""]
    text = "\n".join(filter(None, lines))
    return CallToolResult(
        content=[TextContent(type="text", text=text)],
        structured_content={"code": error.code, "next": error.step},
        is_error=True,
    )


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
