"""Recorded streams of real providers, cut after any event: the app sees the same, and one span has what arrived.

The inner ring cuts each stream after a few events, with the provider's own client. The outer ring cuts after all
events, and after a few with each other client that can read the stream.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from conformance.adapter import Adapter, adapters
from conformance.fast_calls import hurried
from conformance.recording import recorded
from conformance.span_check import steady
from library_members import skip_without
from provider_server import ProviderServer, Reply
from recorded_streams import RecordedStream, recorded_streams
from recorded_traffic import SHARED
from rings import IN_FULL
from span_recorder import SpanRecorder
from streamed_forms import Sighting, sighted, sighted_async

# litellm makes an event loop for a failing synchronous stream; the next test with a loop finds this loop unclosed.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")
FORM = "stream"
TIMEOUT_S = 20.0
SAMPLES = 2
WAYS = (False, True)
"""Values of `breaks`: true if the connection breaks."""
STREAMS = list(recorded_streams())


Said = dict[tuple[int, str], str]


def _runs() -> Iterator[Any]:
    for adapter in adapters():
        marks = [pytest.mark.filterwarnings(text) for text in adapter.warns]
        if own := [one for one in STREAMS if adapter.title in one.readers[:1]]:
            yield pytest.param(adapter, own, False, id=adapter.title, marks=marks)
        if readable := [one for one in STREAMS if adapter.title in one.readers]:
            yield pytest.param(adapter, readable, True, id=f"{adapter.title}-every event", marks=[*marks, *IN_FULL])


def _cuts(stream: RecordedStream, adapter: Adapter, *, every: bool) -> Iterator[Reply]:
    """Yield the stream with fewer and fewer events, the whole stream first."""
    size = len(stream.events)
    every = every and adapter.title == stream.readers[0]
    for number, place in enumerate(range(size, -1, -1 if every else -(size // SAMPLES + 1))):
        for breaks in WAYS if every else (WAYS[number % 2],):
            yield Reply(chunks=stream.events[:place], content_type=stream.content_type, breaks_off=breaks)


def _said(span: ReadableSpan) -> Said:
    """Return the texts, thoughts and names of called tools by message."""
    found: Said = defaultdict(str)
    for index, message in enumerate(json.loads(str((span.attributes or {}).get("gen_ai.output.messages", "[]")))):
        for part in message["parts"]:
            found[index, part["type"]] += str(part.get("content") or part.get("name") or "")
    return found


def _is_beginning(said: Said, whole: Said) -> bool:
    return all(whole.get(place, "").startswith(text) for place, text in said.items())


class _Judge:
    """A comparison of the cuts of one stream, in the order of `_cuts`."""

    def __init__(self) -> None:
        self._whole: Said | None = None

    def check(self, spans: Sequence[ReadableSpan], seen: Sighting, expected: Sighting) -> None:
        """Check that the app saw the same as without us, and that one span has a beginning of the whole answer."""
        assert seen == expected
        (span,) = spans
        assert span.end_time is not None
        said = _said(span)
        self._whole = said if self._whole is None else self._whole
        assert _is_beginning(said, self._whole)


def test_recordings_are_there() -> None:
    """The collection of recordings is complete; if it is missing, the test is skipped and there are fewer streams."""
    if not SHARED.exists():
        pytest.skip("no collection of recordings beside the checkout")
    assert len(STREAMS) > 25


@pytest.mark.parametrize(("adapter", "streams", "every"), [*_runs()])
def test_synchronous(
    adapter: Adapter,
    streams: Sequence[RecordedStream],
    every: bool,
    clients: Any,
    server: ProviderServer,
    recorder: SpanRecorder,
) -> None:
    """The app sees the same as without us; the span has what arrived, if the body ends or the connection breaks."""
    client = clients(adapter, TIMEOUT_S)
    _skip_old(adapter, client)

    def look(cut: Reply) -> Sighting:
        server.replies(cut)
        return steady(sighted(adapter.forms[FORM], client), adapter)

    with hurried(server):
        for stream in streams:
            judge = _Judge()
            without = [look(cut) for cut in _cuts(stream, adapter, every=every)]
            with recorded(adapter, recorder):
                for cut, expected in zip(_cuts(stream, adapter, every=every), without, strict=True):
                    seen = look(cut)
                    judge.check(recorder.spans, seen, expected)
                    recorder.clear()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("adapter", "streams", "every"), [*_runs()])
async def test_asynchronous(
    adapter: Adapter,
    streams: Sequence[RecordedStream],
    every: bool,
    async_clients: Any,
    server: ProviderServer,
    recorder: SpanRecorder,
) -> None:
    """The asynchronous client passes the checks of the synchronous one."""
    client = await async_clients(adapter, TIMEOUT_S)
    _skip_old(adapter, client)

    async def look(cut: Reply) -> Sighting:
        server.replies(cut)
        return steady(await sighted_async(adapter.async_forms[FORM], client), adapter)

    with hurried(server):
        for stream in streams:
            judge = _Judge()
            without = [await look(cut) for cut in _cuts(stream, adapter, every=every)]
            with recorded(adapter, recorder):
                for cut, expected in zip(_cuts(stream, adapter, every=every), without, strict=True):
                    seen = await look(cut)
                    judge.check(recorder.spans, seen, expected)
                    recorder.clear()


def _skip_old(adapter: Adapter, client: Any) -> None:
    for beginning, path in adapter.needs.items():
        if FORM.startswith(beginning):
            skip_without(client, path)
