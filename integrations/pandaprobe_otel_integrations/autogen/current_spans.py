"""Streams that keep a span current while they work, but not between their events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

from opentelemetry.context import Context, attach, get_current


async def steps(
    events: AsyncGenerator[Any, None], inside: Context | None = None, begin: Callable[[], object] | None = None
) -> AsyncGenerator[Any, None]:
    """Yield each event, made in the stream's own context and delivered in the reader's.

    Otherwise, a span that the stream has opened would be current in the reader between two events, and stay current if
    the reader stops. `inside` is the context at the start, by default the reader's. `begin` is called once, right
    before the first event is requested.
    """
    try:
        if begin is not None:
            begin()
        while True:
            outside = get_current()
            attach(outside if inside is None else inside)
            try:
                event = await anext(events)
            except StopAsyncIteration:
                return
            finally:
                inside = get_current()
                attach(outside)
            yield event
    finally:
        outside = get_current()
        try:
            await events.aclose()
        finally:
            attach(outside)
