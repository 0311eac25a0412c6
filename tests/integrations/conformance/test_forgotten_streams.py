"""Streams that an app drops, half read or never read, leave nothing behind, whatever the library.

This means no object of ours, no open span, and no connection that would not be open without us too. CI drops half-read
streams; at night, streams are also dropped that were never read.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import heapq
import os
import socket
import stat
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from conformance import cases
from conformance.adapter import Adapter, adapters
from conformance.cases import CASES, Case
from conformance.recording import recorded
from library_members import skip_without
from pandaprobe_otel_integrations._streams import open_bodies
from provider_server import ProviderServer
from rings import IN_FULL
from span_recorder import SpanRecorder

FORM = "stream"
STREAMS = 3
PATIENCE_S = 60.0
OURS = ("pandaprobe_otel", "opentelemetry.sdk.trace")
COPY = ReadableSpan  # an exporter gets this copy of an ended span, and may keep it
FORGOTTEN = [case for case in CASES if case.name in ("dropped", "never iterated")]


def _runs(mode: str) -> Iterator[Any]:
    for adapter in adapters():
        marks = [pytest.mark.filterwarnings(text) for text in adapter.warns]
        for case in FORGOTTEN:
            if not {f"{FORM}/{case.name}", f"{mode} {FORM}/{case.name}"} & set(adapter.without):
                in_full = () if case.name == "dropped" else IN_FULL
                yield pytest.param(adapter, case, id=f"{adapter.title}-{case.name}", marks=(*marks, *in_full))


def _alive() -> Counter[str]:
    gc.collect()
    found = (type(one) for one in gc.get_objects())
    return Counter(kind.__qualname__ for kind in found if str(kind.__module__).startswith(OURS) and kind is not COPY)


def _connections(server: ProviderServer) -> set[int]:
    """Return the ports of this process's sockets that lead to the server.

    The system's own list of sockets is no snapshot: rows are missing or come twice while others connect.
    """
    gc.collect()
    found = set()
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):  # closed meanwhile, or not connected
            if stat.S_ISSOCK(os.stat(int(name)).st_mode):
                with socket.socket(fileno=os.dup(int(name))) as connection:
                    if connection.family == socket.AF_INET and connection.getpeername()[1] == server.port:
                        found.add(connection.getsockname()[1])
    return found


def _drop_contexts_of_the_loop() -> None:
    """Drop the contexts that the event loop keeps.

    Timers keep contexts, and cancelled timers do so until their due time. A pool's open connections keep contexts too.
    """
    loop: Any = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = loop._scheduled
    timers[:] = [timer for timer in timers if not timer.cancelled()]
    heapq.heapify(timers)
    of_connections = [handle for key in loop._selector.get_map().values() for handle in key.data or ()]
    for handle in (*timers, *filter(None, of_connections)):
        handle._context = contextvars.Context()


def _all_ended(recorder: SpanRecorder, streams: int) -> bool:
    gc.collect()
    return len(recorder.spans) == streams and open_bodies.open_count() == 0


def _skip_old(adapter: Adapter, client: Any) -> None:
    for beginning, path in adapter.needs.items():
        if FORM.startswith(beginning):
            skip_without(client, path)


@pytest.mark.parametrize(("adapter", "case"), [*_runs("sync")])
def test_synchronous(
    adapter: Adapter, case: Case, clients: Any, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """Dropped streams leave nothing behind once the collector has run and the threads of litellm have finished."""
    client = clients(adapter, 20.0)
    _skip_old(adapter, client)
    server.replies(case.reply(adapter, True))

    def forget(streams: int) -> int:
        server.received.clear()
        for _ in range(streams):
            cases.look_at_form(case, adapter.forms[FORM], client)
        deadline = time.monotonic() + PATIENCE_S
        while not _all_ended(recorder, len(server.received)) and time.monotonic() < deadline:
            time.sleep(0.02)
        asked = len(server.received)
        assert len(recorder.spans) == asked
        recorder.clear()
        return asked

    idle = _connections(server)
    for _ in range(STREAMS):
        cases.look_at_form(case, adapter.forms[FORM], client)
    allowed = len(_connections(server) - idle) + 1  # the pool may add a connection
    with recorded(adapter, recorder):
        forget(1)  # makes objects that are made once and kept
        before, connected = _alive(), _connections(server)
        assert forget(STREAMS) in (0, STREAMS)
        deadline = time.monotonic() + PATIENCE_S
        while (_alive() - before or len(_connections(server) - connected) > allowed) and time.monotonic() < deadline:
            time.sleep(0.02)  # litellm's threads log ended calls
        assert _alive() - before == Counter()
        assert len(_connections(server) - connected) <= allowed


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("adapter", "case"), [*_runs("async")])
async def test_asynchronous(
    adapter: Adapter, case: Case, async_clients: Any, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """The asynchronous client passes the checks of the synchronous one."""
    client = await async_clients(adapter, 20.0)
    _skip_old(adapter, client)
    server.replies(case.reply(adapter, True))

    async def forget(streams: int) -> int:
        server.received.clear()
        for _ in range(streams):
            await cases.look_at_form_async(case, adapter.async_forms[FORM], client)
        deadline = time.monotonic() + PATIENCE_S
        while not _all_ended(recorder, len(server.received)) and time.monotonic() < deadline:  # noqa: ASYNC110 - no event to await
            await asyncio.sleep(0.02)
        asked = len(server.received)
        assert len(recorder.spans) == asked
        recorder.clear()
        return asked

    idle = _connections(server)
    for _ in range(STREAMS):
        await cases.look_at_form_async(case, adapter.async_forms[FORM], client)
    allowed = len(_connections(server) - idle) + 1  # the pool may add a connection
    with recorded(adapter, recorder):
        await forget(1)
        _drop_contexts_of_the_loop()
        before, connected = _alive(), _connections(server)
        assert await forget(STREAMS) in (0, STREAMS)
        _drop_contexts_of_the_loop()
        deadline = time.monotonic() + PATIENCE_S
        while (_alive() - before or len(_connections(server) - connected) > allowed) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)  # litellm's tasks log ended calls
            _drop_contexts_of_the_loop()
        assert _alive() - before == Counter()
        assert len(_connections(server) - connected) <= allowed
