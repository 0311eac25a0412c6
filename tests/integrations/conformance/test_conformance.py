"""Every library, way of asking and way of ending: the app notices no difference, and one span records the call.

The inner ring runs every way of ending for each library's plain call and stream. It runs only some endings for other
ways of asking, for clients of other clouds and for clients built like openai's, since these run the same code. At
night, everything runs, and docs/providers.md is compared.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conformance import cases, providers_page
from conformance.adapter import Adapter, adapters, cloud_adapters
from conformance.cases import CASES, SHORT_TIMEOUT_S, Case
from conformance.recording import await_span, recorded
from conformance.results import RESULTS, Row
from conformance.span_check import check, steady
from library_members import skip_without
from pandaprobe_otel.registry import INTEGRATIONS
from provider_server import ProviderServer
from rings import IN_FULL
from span_recorder import SpanRecorder
from streamed_forms import Sighting

TIMEOUT_S = 20.0
NO_PROVIDERS = {path.stem for path in (Path(__file__).parents[2] / "frameworks" / "environments").glob("*.toml")}
"""Integrations of frameworks, which call a provider's library themselves and have test environments of their own."""
MAIN_SHAPES = ("plain", "stream")
OF_OTHER_SHAPES = ("read to the end", "break and close")
LIKE_OPENAI = ("groq", "together")
"""Clients built like openai's, which the same code of ours observes."""
CLOUDS = [adapter.title for adapter in cloud_adapters()]
OF_CLOUDS = ("read to the end", "break and close", "4xx")
OF_OTHER_CLIENTS = ("read to the end", "tool calls", "break and close", "dropped", "cancelled", "4xx", "cut off")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One cell of the table in docs/providers.md."""

    adapter: Adapter
    asynchronous: bool
    name: str
    streamed: bool
    case: Case

    @property
    def row(self) -> Row:
        """Return the row of this cell."""
        return Row(self.adapter.title, "async" if self.asynchronous else "sync", self.name)

    def __str__(self) -> str:
        return f"{self.row.library} {self.row.mode} {self.name}/{self.case.name}"


def runs(*, asynchronous: bool) -> Iterator[Any]:
    """Yield every run as a parameter."""
    for adapter in (*adapters(), *cloud_adapters()):
        called = adapter.async_calls if asynchronous else adapter.calls
        opened = adapter.async_forms if asynchronous else adapter.forms
        for name, streamed in [*((name, False) for name in called), *((name, True) for name in opened)]:
            for case in CASES:
                run = Run(adapter=adapter, asynchronous=asynchronous, name=name, streamed=streamed, case=case)
                if _exists(run):
                    marks = [pytest.mark.filterwarnings(text) for text in adapter.warns]
                    if not _is_inner(run):
                        marks += IN_FULL
                    yield pytest.param(run, id=str(run), marks=marks)


def _exists(run: Run) -> bool:
    if run.case.only_async and not run.asynchronous:
        return False
    if not run.streamed and not run.case.answered:
        return False
    place = f"{run.name}/{run.case.name}"
    return not {place, f"{run.row.mode} {place}"} & set(run.adapter.without)


def _is_inner(run: Run) -> bool:
    if run.name not in MAIN_SHAPES:
        return run.case.name in OF_OTHER_SHAPES and run.adapter.title not in CLOUDS
    if run.adapter.title in CLOUDS:
        return run.case.name in OF_CLOUDS
    return run.adapter.title not in LIKE_OPENAI or run.case.name in OF_OTHER_CLIENTS


def _prepare(run: Run, client: Any, server: ProviderServer) -> None:
    for beginning, path in run.adapter.needs.items():
        if run.name.startswith(beginning):
            skip_without(client, path)
    server.replies(run.case.reply(run.adapter, run.streamed))


def _timeout(run: Run) -> float:
    return SHORT_TIMEOUT_S if run.case.times_out else TIMEOUT_S


def _never_connected(run: Run, seen: Sighting) -> bool:
    """Return whether a slow machine did not connect within the very short timeout; such a run is repeated."""
    return run.case.times_out and seen.raised is not None and "connect" in seen.raised[0].__name__.lower()


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
    RESULTS.passed(run.row, run.case.name, recorder.spans)


@pytest.mark.parametrize("run", [*runs(asynchronous=False)])
def test_synchronous(run: Run, clients: Any, server: ProviderServer, recorder: SpanRecorder) -> None:
    """Types, items and exceptions are the same with and without us; one span has what the app has seen."""
    client = clients(run.adapter, _timeout(run))
    _prepare(run, client, server)
    if run.streamed:
        look = partial(cases.look_at_form, run.case, run.adapter.forms[run.name], client)
    else:
        look = partial(cases.look_at_call, run.adapter.calls[run.name], client)
    without = look()
    while _never_connected(run, without):
        without = look()
    server.received.clear()
    with recorded(run.adapter, recorder):
        seen = look()
        while _never_connected(run, seen):
            recorder.clear()
            seen = look()
    assert steady(seen, run.adapter) == steady(without, run.adapter)
    _check(run, seen, server, recorder)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("run", [*runs(asynchronous=True)])
async def test_asynchronous(run: Run, async_clients: Any, server: ProviderServer, recorder: SpanRecorder) -> None:
    """The asynchronous client passes the checks of the synchronous one."""
    client = await async_clients(run.adapter, _timeout(run))
    _prepare(run, client, server)
    if run.streamed:
        look = partial(cases.look_at_form_async, run.case, run.adapter.async_forms[run.name], client)
    else:
        cancelled_at = server if run.case.only_async else None
        look = partial(cases.look_at_call_async, run.adapter.async_calls[run.name], client, cancelled_at)
    without = await look()
    while _never_connected(run, without):
        without = await look()
    server.received.clear()
    with recorded(run.adapter, recorder):
        seen = await look()
        while _never_connected(run, seen):
            recorder.clear()
            seen = await look()
    assert steady(seen, run.adapter) == steady(without, run.adapter)
    _check(run, seen, server, recorder)


def test_every_integration_is_held_to_it() -> None:
    """Each library of a provider has a module in `conformance/libraries`."""
    assert set(INTEGRATIONS) - NO_PROVIDERS == {adapter.integration for adapter in adapters()}


@pytest.mark.outer
@pytest.mark.exhaustive
def test_page_is_up_to_date() -> None:
    """docs/providers.md agrees with the runs that passed here."""
    expected = {
        (run.row, run.case.name) for mode in (False, True) for (run,) in (one.values for one in runs(asynchronous=mode))
    }
    passed = {(row, case) for row, found in RESULTS.found.items() for case in found}
    if passed != expected:
        pytest.skip(f"not all cases were run and passed: {len(expected - passed)} were not")
    if os.environ.get("WRITE_PAGES"):
        providers_page.PATH.write_text(providers_page.page(RESULTS), encoding="utf-8")
    written = providers_page.PATH.read_text(encoding="utf-8")
    assert written == providers_page.page(RESULTS), "run this file with WRITE_PAGES=1"
