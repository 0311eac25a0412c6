"""Every library, way of asking and way of ending: the app notices no difference, and one span records the call.

The inner ring runs the ways of ending for each library's plain call and stream, except two that run the code of
others. It runs only some endings for other ways of asking, for clients of other clouds, and for clients built like
another one, since these run the same code. At night, everything runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest

from conformance.adapter import Adapter, adapters, cloud_adapters
from conformance.cases import CASES, SHORT_TIMEOUT_S, Case
from conformance.sides import Side, await_span, recorded
from conformance.span_check import check, steady
from like_openai import CLIENTS
from provider_server import ProviderServer
from rings import IN_FULL
from span_recorder import SpanRecorder
from streamed_forms import Sighting

TIMEOUT_S = 20.0
MAIN_SHAPES = ("plain", "stream")
OF_OTHER_SHAPES = ("read to the end", "break and close")
LIKE_OTHERS = (*CLIENTS, "anthropic beta")
"""Clients built like openai's or anthropic's, which the same code of ours observes."""
CLOUDS = [adapter.title for adapter in cloud_adapters()]
OF_OTHER_CLIENTS = ("read to the end", "tool calls", "break and close", "4xx")
LIKE_OTHER_ENDINGS = ("stream/with and break", "plain/5xx", "stream/5xx", "stream/timeout")
"""A `with` block closes the stream, each error status raises, and a stream that does not begin is like an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One call or stream of an adapter, in one of the ways in which it can go."""

    adapter: Adapter
    asynchronous: bool
    name: str
    streamed: bool
    case: Case

    @property
    def mode(self) -> str:
        """The mode of the client."""
        return "async" if self.asynchronous else "sync"

    def __str__(self) -> str:
        return f"{self.adapter.title} {self.mode} {self.name}/{self.case.name}"


def runs() -> Iterator[Any]:
    """Yield every run as a parameter."""
    for adapter, asynchronous in product((*adapters(), *cloud_adapters()), (False, True)):
        if asynchronous and adapter.async_client is None:
            continue
        named = [*((name, False) for name in adapter.calls), *((name, True) for name in adapter.forms)]
        for (name, streamed), case in product(named, CASES):
            run = Run(adapter=adapter, asynchronous=asynchronous, name=name, streamed=streamed, case=case)
            if _exists(run):
                marks = [pytest.mark.filterwarnings(text) for text in adapter.warns]
                yield pytest.param(run, id=str(run), marks=marks if _is_inner(run) else [*marks, *IN_FULL])


def _exists(run: Run) -> bool:
    if run.case.only_async and not run.asynchronous:
        return False
    if not run.streamed and not run.case.answered:
        return False
    place = f"{run.name}/{run.case.name}"
    return not {place, f"{run.mode} {place}"} & set(run.adapter.without)


def _is_inner(run: Run) -> bool:
    if run.name not in MAIN_SHAPES:
        return run.case.name in OF_OTHER_SHAPES and run.adapter.title not in CLOUDS
    if run.adapter.title in CLOUDS:
        return run.case.name == "read to the end"
    if run.adapter.title in LIKE_OTHERS:
        return run.case.name in OF_OTHER_CLIENTS
    return f"{run.name}/{run.case.name}" not in LIKE_OTHER_ENDINGS


def _look(run: Run, side: Side, server: ProviderServer) -> Sighting:
    """Make the call, again if a slow machine did not connect within the very short timeout."""
    while True:
        server.received.clear()
        if run.streamed:
            seen = side.end(run.case, run.name)
        else:
            seen = side.call(run.name, server if run.case.only_async else None)
        if not (run.case.times_out and seen.raised is not None and "connect" in seen.raised[0].__name__.lower()):
            return seen


def _check(run: Run, seen: Sighting, server: ProviderServer, recorder: SpanRecorder) -> None:
    if run.case.times_out and seen.raised is None:
        pytest.skip("the oldest versions have a timeout for each call that no setting of the client changes")
    assert run.case.outcome not in ("complete", "tools", "nothing") or seen.raised is None, seen.raised
    if run.case.outcome == "nothing" and not server.received:
        # Some clients send the request only when the app reads, so an unread stream makes no call.
        assert recorder.spans == []
    else:
        await_span(recorder)
        check(recorder.one(), run.adapter, run.case, seen)


@pytest.mark.parametrize("run", [*runs()])
def test_every_way(run: Run, side: Any, server: ProviderServer, recorder: SpanRecorder) -> None:
    """Types, items and exceptions are the same with and without us; one span has what the app has seen."""
    used: Side = side(run.adapter, run.asynchronous, SHORT_TIMEOUT_S if run.case.times_out else TIMEOUT_S)
    used.need(run.name)
    server.replies(run.case.reply(run.adapter, run.streamed))
    without = _look(run, used, server)
    with recorded(run.adapter, recorder):
        seen = _look(run, used, server)
        while run.case.times_out and len(recorder.spans) > 1:  # of calls that did not connect
            recorder.clear()
            seen = _look(run, used, server)
    assert steady(seen, run.adapter) == steady(without, run.adapter)
    _check(run, seen, server, recorder)
