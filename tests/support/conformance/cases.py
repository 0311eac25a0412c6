"""The ways in which a call can go: actions of the provider and of the app."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from provider_server import ProviderServer, Reply
from streamed_forms import Sighting

from .adapter import Adapter, Call, Wire

SILENCE_S: Final = 60.0
"""Seconds of a silence that no test waits out; it ends earlier if the client leaves."""
SHORT_TIMEOUT_S: Final = 0.05

Outcome = Literal["complete", "tools", "partial", "nothing", "cancelled", "refused", "failed", "cut"]
"""The part of the answer that arrives: all of it, all of an answer with tool calls, its beginning, nothing (the app
closed), its beginning before the app cancelled, an error status, no answer, or its beginning and then an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One column of the page. `status` is that of a refusal; with `times_out`, the client's timeout is very short."""

    name: str
    outcome: Outcome
    reply: Callable[[Adapter, bool], Reply]
    """Returns the provider's answer; the second argument is true for a streamed call."""
    ending: str
    """Name in `streamed_forms.ENDINGS`; an answer in one piece is always read."""
    answered: bool = False
    """True if the case also exists for calls that are answered in one piece."""
    only_async: bool = False
    status: int = 200
    times_out: bool = False


def _whole(adapter: Adapter, streamed: bool) -> Reply:
    return _reply(adapter.answer, streamed)


def _tools(adapter: Adapter, streamed: bool) -> Reply:
    return _reply(adapter.tools, streamed)


def _reply(wire: Wire, streamed: bool) -> Reply:
    if streamed:
        return Reply(chunks=wire.chunks, content_type=wire.stream_type)
    return Reply(chunks=(wire.whole,), headers=dict(wire.headers))


def _silent(adapter: Adapter, streamed: bool) -> Reply:
    wire = adapter.answer
    if not streamed:
        return Reply(chunks=(wire.whole,), waits_s=SILENCE_S)
    return Reply(chunks=wire.chunks[: wire.opening], content_type=wire.stream_type, hangs_s=SILENCE_S)


def _late(adapter: Adapter, streamed: bool) -> Reply:
    return Reply(chunks=(adapter.answer.whole,), waits_s=SILENCE_S)


def _cut(adapter: Adapter, streamed: bool) -> Reply:
    wire = adapter.answer
    if not streamed:
        return Reply(chunks=(wire.whole[:20],), breaks_off=True)
    return Reply(chunks=wire.chunks[: wire.opening], content_type=wire.stream_type, breaks_off=True)


def _refusing(status: int) -> Callable[[Adapter, bool], Reply]:
    def reply(adapter: Adapter, streamed: bool) -> Reply:
        return adapter.refused(status) if adapter.refused else Reply(chunks=(adapter.refusal,), status=status)

    return reply


CASES: Final = (
    Case(name="read to the end", outcome="complete", reply=_whole, ending="read to the end", answered=True),
    Case(name="tool calls", outcome="tools", reply=_tools, ending="read to the end", answered=True),
    Case(name="break and close", outcome="partial", reply=_whole, ending="break and close"),
    Case(name="with and break", outcome="partial", reply=_whole, ending="with and break"),
    Case(name="close at once", outcome="nothing", reply=_whole, ending="close at once"),
    Case(name="dropped", outcome="partial", reply=_whole, ending="drop"),
    Case(name="never iterated", outcome="nothing", reply=_whole, ending="never iterate"),
    Case(name="caller raises", outcome="partial", reply=_whole, ending="app raises"),
    Case(name="cancelled", outcome="cancelled", reply=_silent, ending="cancelled", answered=True, only_async=True),
    Case(name="4xx", outcome="refused", reply=_refusing(400), ending="read to the end", answered=True, status=400),
    Case(name="5xx", outcome="refused", reply=_refusing(500), ending="read to the end", answered=True, status=500),
    Case(name="timeout", outcome="failed", reply=_late, ending="read to the end", answered=True, times_out=True),
    Case(name="cut off", outcome="cut", reply=_cut, ending="read to the end", answered=True),
)


async def look_at_call(call: Call, client: Any, cancelled_at: ProviderServer | None = None) -> Sighting:
    """Make a call that is answered in one piece; with `cancelled_at`, cancel it once it has reached this server.

    A raised exception is part of the sighting.
    """
    sighting = Sighting()
    try:
        await (call(client, sighting) if cancelled_at is None else _cancelled(call(client, sighting), cancelled_at))
    except BaseException as error:  # noqa: BLE001 - a cancellation is a sighting too
        sighting.raised = (type(error), str(error))
    return sighting


async def _cancelled(call: Awaitable[None], server: ProviderServer) -> None:
    before = len(server.received)
    task = asyncio.ensure_future(call)
    while len(server.received) == before and not task.done():  # noqa: ASYNC110 - the server is a thread
        await asyncio.sleep(0.001)
    task.cancel()
    await task
