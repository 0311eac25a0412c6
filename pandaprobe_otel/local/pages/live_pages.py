"""Running traces on the pages: their view, and the stream that announces changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pandaprobe_otel.local.live_traces import LiveTrace, LiveTraces
from pandaprobe_otel.local.pages.access import signed_in
from pandaprobe_otel.local.services import services_of

router = APIRouter(prefix="/ui/live", include_in_schema=False, dependencies=[Depends(signed_in)])

_LOOK_S: Final = 0.2
_LONGEST_S: Final = 300.0
"""Seconds after which a page connects again, so that a lost connection does not stay open for ever."""
_QUIET_LOOKS: Final = 75
"""Checks without a change after which a comment is sent, to detect whether the page is still open."""


@router.get("/stream")
async def stream(request: Request, trace: UUID) -> Response:
    """Send `span` with the version after each change of a running trace, and `settled` once it is stored."""
    events = changes(services_of(request).live, str(trace), gone=request.is_disconnected)
    return StreamingResponse(events, media_type="text/event-stream", headers={"x-accel-buffering": "no"})


async def changes(
    live: LiveTraces,
    trace_id: str,
    *,
    gone: Callable[[], Any],
    sleep: Callable[[float], Any] = asyncio.sleep,
) -> AsyncGenerator[str]:
    """Yield server-sent events about a trace until it is settled, the page is closed, or the time is over."""
    seen: int | None = None
    for look in range(int(_LONGEST_S / _LOOK_S)):
        version = live.version(trace_id)
        if version is None:
            yield "event: settled\ndata: {}\n\n"
            return
        if version != seen:
            seen = version
            yield f"event: span\ndata: {version}\n\n"
        elif look % _QUIET_LOOKS == 0:
            yield ": still here\n\n"
        if await gone():
            return
        await sleep(_LOOK_S)
    yield "event: reload\ndata: {}\n\n"


def merged(trace: Mapping[str, Any], live: LiveTrace) -> dict[str, Any]:
    """Return a stored trace that is still running, with the spans that are not stored yet, ordered by start."""
    known = {span["span_id"] for span in trace["spans"]}
    spans = [*trace["spans"], *(span for span in live.spans if span["span_id"] not in known)]
    return {**trace, "spans": sorted(spans, key=lambda span: str(span["started_at"]))}


def running_record(live: LiveTrace) -> dict[str, Any]:
    """Return a running trace in the form of `GET /traces/{id}`."""
    root: Mapping[str, Any] = next((span for span in live.spans if span["parent_span_id"] is None), dict[str, Any]())
    return {
        "trace_id": live.trace_id,
        "project_id": live.project_id,
        "name": live.name,
        "status": "RUNNING",
        "input": root.get("input"),
        "output": root.get("output"),
        "metadata": {},
        "started_at": live.started_at,
        "ended_at": None,
        "session_id": None,
        "user_id": None,
        "tags": [],
        "environment": None,
        "release": None,
        "spans": sorted(live.spans, key=lambda span: str(span["started_at"])),
        "total_tokens": sum(_tokens(span) for span in live.spans),
        "total_cost": 0.0,
    }


def _tokens(span: Mapping[str, Any]) -> int:
    usage: Mapping[str, Any] = span["token_usage"] or {}
    return sum(usage.get(name) or 0 for name in ("prompt_tokens", "completion_tokens"))


def stepped(length_ms: float) -> float:
    """Return the next of 1, 2, 5, 10, ... as the length of an axis, so that it does not change with every span."""
    size = 1.0
    while size * 10 < length_ms:
        size *= 10
    return next((size * factor for factor in (1, 2, 5, 10) if size * factor >= length_ms), length_ms)
