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
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from conformance.adapter import Adapter, adapters
from conformance.cases import CASES, Case
from conformance.sides import Side, recorded
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


def _runs() -> Iterator[Any]:
    for adapter, case, mode in product(adapters(), FORGOTTEN, ("sync", "async")):
        if not {f"{FORM}/{case.name}", f"{mode} {FORM}/{case.name}"} & set(adapter.without):
            marks = [pytest.mark.filterwarnings(text) for text in adapter.warns]
            in_full = () if case.name == "dropped" else IN_FULL
            test_id = f"{adapter.title}-{case.name}-{mode}"
            yield pytest.param(adapter, case, mode == "async", id=test_id, marks=(*marks, *in_full))


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


async def _turn_the_loop() -> None:
    """Let tasks run, then drop the contexts that the event loop keeps.

    Timers keep contexts, and cancelled timers do so until their due time. A pool's open connections keep contexts too.
    """
    await asyncio.sleep(0.02)
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


@pytest.mark.parametrize(("adapter", "case", "asynchronous"), [*_runs()])
def test_nothing_is_left(
    adapter: Adapter, case: Case, asynchronous: bool, side: Any, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """Dropped streams leave nothing behind once the collector has run and the threads of litellm have finished."""
    used: Side = side(adapter, asynchronous)
    used.need(FORM)
    server.replies(case.reply(adapter, True))

    def wait(done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not done() and time.monotonic() < deadline:
            used.runner.run(_turn_the_loop())  # litellm's threads and tasks log ended calls

    def forget(streams: int) -> int:
        server.received.clear()
        for _ in range(streams):
            used.end(case, FORM)
        wait(lambda: _all_ended(recorder, len(server.received)))
        made = len(server.received)
        assert len(recorder.spans) == made
        recorder.clear()
        return made

    idle = _connections(server)
    for _ in range(STREAMS):
        used.end(case, FORM)
    allowed = len(_connections(server) - idle) + 1  # the pool may add a connection
    with recorded(adapter, recorder):
        forget(1)  # makes objects that are made once and kept
        used.runner.run(_turn_the_loop())
        before, connected = _alive(), _connections(server)
        assert forget(STREAMS) in (0, STREAMS)
        wait(lambda: not _alive() - before and len(_connections(server) - connected) <= allowed)
        assert _alive() - before == Counter()
        assert len(_connections(server) - connected) <= allowed
