"""Every client library, plain and streamed, synchronous and asynchronous: the replay equals the recording.

CI makes plain calls and reads and breaks streams of most libraries; nightly tests cover the other calls and cases.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan

import pandaprobe_otel
import streamed_forms
from conformance.adapter import Adapter, adapters
from conformance.cases import CASES, Case, look_at_call
from conformance.sides import await_span, recorded
from conformance.span_check import steady
from library_members import skip_without
from like_openai import CLIENTS
from provider_server import ProviderServer, Reply
from rings import IN_FULL
from span_recorder import SpanRecorder
from streamed_forms import ENDINGS, Sighting

INNER = {("plain", "tool calls"), ("stream", "read to the end"), ("stream", "cut off"), ("plain", "5xx")}
LEFT_OUT = ("timeout", "cancelled")
"""Cases that last until the client's timeout."""
HEADERS = re.compile(
    r"headers: \{.*?\}|headers=<dict len=\d+>|\n *'content-type': '[^']*'|,?\n *'transfer-encoding': '\w+'",
    re.IGNORECASE,
)
"""Headers in cohere's exceptions and Gemini's answers: cassettes keep only a few, in lower case."""
LIKE_OPENAI = (*CLIENTS, "anthropic beta")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One kind of call, in one case."""

    adapter: Adapter
    name: str
    streamed: bool
    case: Case
    asynchronous: bool

    def __str__(self) -> str:
        return f"{self.adapter.title} {'async ' if self.asynchronous else ''}{self.name}/{self.case.name}"


def runs(*, asynchronous: bool) -> Iterator[Any]:
    """Yield every run as a parameter."""
    for adapter in adapters():
        for name, streamed in [*((name, False) for name in adapter.calls), *((name, True) for name in adapter.forms)]:
            for case in CASES:
                place = f"{name}/{case.name}"
                mode = "async" if asynchronous else "sync"
                is_there = (streamed or case.answered) and not {place, f"{mode} {place}"} & set(adapter.without)
                if not is_there or case.name in LEFT_OUT:
                    continue
                marks = [pytest.mark.filterwarnings(text) for text in adapter.warns]
                is_sampled = (name, case.name) in INNER and adapter.title not in LIKE_OPENAI
                marks += (pytest.mark.outer,) if is_sampled else IN_FULL
                run = Run(adapter=adapter, name=name, streamed=streamed, case=case, asynchronous=asynchronous)
                yield pytest.param(run, id=str(run), marks=marks)


def _prepare(run: Run, client: Any, server: ProviderServer) -> None:
    for beginning, path in run.adapter.needs.items():
        if run.name.startswith(beginning):
            skip_without(client, path)
    server.received.clear()
    server.replies(run.case.reply(run.adapter, run.streamed))


def _is_gone(server: ProviderServer) -> None:
    """Let the provider refuse every request."""
    server.received.clear()
    server.replies(Reply(status=503))


def _told(spans: list[ReadableSpan]) -> list[Any]:
    """Return the spans without data that differs between two runs."""
    return [
        (
            span.name,
            span.status.status_code,
            {key: value for key, value in (span.attributes or {}).items() if "time" not in key},
            [event.name for event in span.events],
        )
        for span in spans
    ]


def _plain(seen: Sighting, run: Run) -> Sighting:
    """Return what the app has seen, without headers and other data that differs between two runs."""
    seen = steady(seen, run.adapter)
    items = [HEADERS.sub("", item) for item in seen.items]
    raised = None if seen.raised is None else (seen.raised[0], HEADERS.sub("", seen.raised[1]))
    return replace(seen, items=items, raised=raised)


def _compare(live: Sighting, replayed: Sighting, run: Run) -> None:
    live, replayed = _plain(live, run), _plain(replayed, run)
    if live.raised is not None and run.case.outcome == "cut":
        assert replayed.raised is not None
        assert replayed.raised[0] is live.raised[0]  # a cassette does not keep a library's text about its socket
        assert (replayed.types, replayed.items) == (live.types, live.items)
    else:
        assert replayed == live


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("run", [*runs(asynchronous=False), *runs(asynchronous=True)])
async def test_the_replay_of_a_client(
    run: Run, clients: Any, async_clients: Any, server: ProviderServer, recorder: SpanRecorder, tmp_path: Path
) -> None:
    """The app and the trace see the same in the replay as in the recording, and nothing is sent."""
    client = await async_clients(run.adapter) if run.asynchronous else clients(run.adapter)
    _prepare(run, client, server)

    async def look() -> Sighting:
        recorder.clear()
        with recorded(run.adapter, recorder):
            async with pandaprobe_otel.recording(tmp_path / "cassette.yaml") as recording:
                if run.streamed:
                    seen = await streamed_forms.look(ENDINGS[run.case.ending], run.adapter.forms[run.name], client)
                else:
                    seen = await look_at_call(run.adapter.calls[run.name], client)
        if recording.calls:
            await_span(recorder)
        return seen

    live = await look()
    spans = recorder.spans
    asked = len(server.received)
    _is_gone(server)
    replayed = await look()
    _compare(live, replayed, run)
    assert server.received == []
    assert bool(asked) == ("- pandaprobe:" in (tmp_path / "cassette.yaml").read_text())
    if run.case.outcome != "cut":
        assert _told(recorder.spans) == _told(spans)
