"""Streams that keep a span current while they work, and only then."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

from opentelemetry.context import Context, attach, get_current


async def steps(
    events: AsyncGenerator[Any, None], inside: Context | None = None, begin: Callable[[], object] | None = None
) -> AsyncGenerator[Any, None]:
    """Yield each event, made in the context that the stream has made for itself and given in that of the reader.

    Without it, a span that the stream has opened is the reader's current one between two events, and stays it when the
    reader reads no further. `inside` is the context to begin in, by default the reader's; `begin` is called once,
    right before the first event is asked for.
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
