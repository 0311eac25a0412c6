"""Abilities of a local PandaProbe, which its answer to `GET /health` states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

from pandaprobe_otel.config.parsers import is_loopback
from pandaprobe_otel.transport.outcome import Answer, Request, json_object
from pandaprobe_otel.transport.socket_transport import SocketTransport, is_plain

LIVE_VERSION: Final = 1
"""Version of the format for running spans."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """Abilities beyond those of the hosted PandaProbe."""

    takes_live_spans: bool
    trace_page: str | None
    """Path of a trace's page, with `{trace_id}` in it; None if the server has no pages."""


def abilities_in(answer: Answer) -> Abilities | None:
    """Read the answer to `GET /health`; return None if it is not from a local server."""
    if answer.status != 200:
        return None
    local = json_object(answer.body).get("local")
    if not isinstance(local, dict):
        return None
    said = cast("dict[str, Any]", local)
    page = said.get("trace_page")
    is_page = isinstance(page, str) and page.startswith("/") and "{trace_id}" in page
    return Abilities(takes_live_spans=said.get("live") == LIVE_VERSION, trace_page=page if is_page else None)


def abilities_at(endpoint: str, *, timeout_s: float) -> Abilities | None:
    """Ask the server at an endpoint on this machine; return None if it does not identify itself as local in time.

    Any other endpoint is not asked.
    """
    if not is_loopback(endpoint) or not is_plain(endpoint):
        return None
    transport = SocketTransport(endpoint, {})
    try:
        answer = transport.send(Request(method="GET", path="/health", timeout_s=timeout_s, most_read=4096))
        return abilities_in(answer) if isinstance(answer, Answer) else None
    finally:
        transport.close()
