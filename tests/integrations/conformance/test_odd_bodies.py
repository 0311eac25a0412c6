"""Undocumented answers, through every library: the app sees the same as without us, and a call is one span.

The inner ring tries a few of the oddities, different ones for each client; the outer ring tries all of them.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Iterator
from itertools import islice, starmap
from typing import Any

import pytest

from conformance import cases, odd_bodies
from conformance.adapter import Adapter, adapters
from conformance.fast_calls import hurried
from conformance.odd_bodies import Oddity
from conformance.recording import recorded
from conformance.short_bodies import shortened
from conformance.span_check import steady
from library_members import skip_without
from provider_server import ProviderServer, Reply
from rings import IN_FULL
from span_recorder import SpanRecorder
from streamed_forms import Sighting, sighted, sighted_async

TIMEOUT_S = 20.0
FORM = "stream"
CALL = "plain"
ONE_OUT_OF = 199
"""Step through the oddities unless all are tried; a prime number, so that each kind of oddity is tried."""
TURNS = 20
THEIRS = sorted({adapter.integration for adapter in adapters()} | {"httpx", "httpx2", "root"})
"""Loggers of the clients; cohere's is the root logger."""
# litellm makes an event loop for a failing synchronous stream; the next test with a loop finds this loop unclosed.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")


@pytest.fixture(autouse=True)
def nothing_failed_inside(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Check that our observation did not fail, which the app would not notice. The clients' log lines are ignored."""
    for name in THEIRS:
        caplog.set_level(logging.CRITICAL, logger=name)
    caplog.set_level(logging.WARNING, logger="asyncio")
    caplog.set_level(logging.DEBUG, logger="pandaprobe_otel.integrations")
    yield
    logged = [one for one in caplog.get_records("call") if one.name == "pandaprobe_otel.integrations"]
    assert [(one.getMessage(), one.exc_info) for one in logged] == []


def _runs() -> Iterator[Any]:
    for adapter in map(shortened, adapters()):
        marks = [pytest.mark.filterwarnings(text) for text in adapter.warns]
        yield pytest.param(adapter, False, id=adapter.title, marks=marks)
        yield pytest.param(adapter, True, id=f"{adapter.title}-every oddity", marks=[*marks, *IN_FULL])


def _all(adapter: Adapter) -> Iterator[tuple[bool, Oddity]]:
    """Yield each oddity with a flag that is true for a stream."""
    for wire in (adapter.answer, adapter.tools):
        for kind in (odd_bodies.written_otherwise, odd_bodies.said_otherwise, odd_bodies.with_other_values):
            yield from ((True, oddity) for oddity in kind(wire))
        yield from ((False, oddity) for oddity in odd_bodies.whole_with_other_values(wire.whole))


def _tried(adapter: Adapter, first: int, *, every: bool) -> list[tuple[bool, Oddity]]:
    return list(_all(adapter) if every else islice(_all(adapter), first, None, ONE_OUT_OF))


def _reply(adapter: Adapter, streamed: bool, oddity: Oddity) -> Reply:
    return Reply(chunks=oddity.chunks, content_type=adapter.answer.stream_type if streamed else "application/json")


def _is_wrong(seen: Sighting, expected: Sighting, recorder: SpanRecorder) -> bool:
    return seen != expected or [span.end_time is not None for span in recorder.spans] != [True]


@pytest.mark.parametrize(("adapter", "every"), [*_runs()])
def test_synchronous(
    adapter: Adapter, every: bool, clients: Any, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """The app sees the same of odd streams and odd single answers, and each call is one span."""
    client = clients(adapter, TIMEOUT_S)
    _skip_old(adapter, client)

    def look(streamed: bool, oddity: Oddity) -> Sighting:
        server.replies(_reply(adapter, streamed, oddity))
        if not streamed:
            return steady(cases.look_at_call(adapter.calls[CALL], client), adapter)
        return steady(sighted(adapter.forms[FORM], client), adapter)

    differ: list[str] = []
    tried = _tried(adapter, 0, every=every)
    with hurried(server):
        without = list(starmap(look, tried))
        with recorded(adapter, recorder):
            for (streamed, oddity), expected in zip(tried, without, strict=True):
                if _is_wrong(look(streamed, oddity), expected, recorder):
                    differ.append(oddity.name)
                recorder.clear()
    assert differ == []


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("adapter", "every"), [*_runs()])
async def test_asynchronous(
    adapter: Adapter, every: bool, async_clients: Any, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """The asynchronous client passes the checks of the synchronous one, with other oddities."""
    client = await async_clients(adapter, TIMEOUT_S)
    _skip_old(adapter, client)

    async def look(streamed: bool, oddity: Oddity) -> Sighting:
        server.replies(_reply(adapter, streamed, oddity))
        if not streamed:
            return steady(await cases.look_at_call_async(adapter.async_calls[CALL], client, None), adapter)
        return steady(await sighted_async(adapter.async_forms[FORM], client), adapter)

    differ: list[str] = []
    tried = _tried(adapter, ONE_OUT_OF // 2, every=every)
    with hurried(server):
        without = [await look(streamed, oddity) for streamed, oddity in tried]
        with recorded(adapter, recorder):
            for (streamed, oddity), expected in zip(tried, without, strict=True):
                seen = await look(streamed, oddity)
                await _until_found(recorder)
                if _is_wrong(seen, expected, recorder):
                    differ.append(oddity.name)
                recorder.clear()
    assert differ == []


async def _until_found(recorder: SpanRecorder) -> None:
    """Collect garbage until the span has ended: google-genai's stream, having raised, is in a reference cycle."""
    for _ in range(TURNS):
        if recorder.spans:
            return
        gc.collect()
        await asyncio.sleep(0)


def _skip_old(adapter: Adapter, client: Any) -> None:
    for name in (FORM, CALL):
        for beginning, path in adapter.needs.items():
            if name.startswith(beginning):
                skip_without(client, path)
