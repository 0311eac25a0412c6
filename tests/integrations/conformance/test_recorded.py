"""The suite's own cassettes, replayed through every library: nothing leaves the process, and each call is one span.

The cassettes hold the unstreamed answers of test_conformance.py, and are replayed below the client's HTTP library. The
inner ring replays one cassette of each library.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from conformance import cases
from conformance.recording import recorded
from conformance.span_check import check, steady
from conformance.suite_cassettes import ROOT, Recording, player, recordings
from library_members import skip_without
from span_recorder import SpanRecorder

TIMEOUT_S = 20.0
IN_BOTH_RINGS = "stream"
# the garbage collector closes aiohttp's connector and litellm's event loop, with or without us
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning", "ignore:Unclosed:ResourceWarning")


def _runs() -> Iterator[Any]:
    for recording in recordings():
        marks = [pytest.mark.filterwarnings(text) for text in recording.adapter.warns]
        if recording.name != IN_BOTH_RINGS:
            marks.append(pytest.mark.outer)
        yield pytest.param(recording, id=f"{recording.adapter.title} {recording.name}", marks=marks)


def _replayed(recording: Recording) -> Any:
    return player("none").use_cassette(str(recording.path), allow_playback_repeats=True)


def _skip_old(recording: Recording, client: Any) -> None:
    for beginning, path in recording.adapter.needs.items():
        if recording.call.startswith(beginning):
            skip_without(client, path)


@pytest.mark.parametrize("recording", [*_runs()])
def test_synchronous(recording: Recording, recorder: SpanRecorder) -> None:
    """The app sees the same with and without us, and the span has the whole answer."""
    adapter = recording.adapter

    def look() -> Any:
        if recording.streamed:
            return cases.look_at_form(recording.case, adapter.forms[recording.call], client)
        return cases.look_at_call(adapter.calls[recording.call], client)

    with _replayed(recording), adapter.client(ROOT, TIMEOUT_S) as client:
        _skip_old(recording, client)
        without = look()
        with recorded(adapter, recorder):
            seen = look()
    assert steady(seen, adapter) == steady(without, adapter)
    check(recorder.one(), adapter, recording.case, seen)


@pytest.mark.parametrize("recording", [*_runs()])
async def test_asynchronous(recording: Recording, recorder: SpanRecorder) -> None:
    """The asynchronous client passes the checks of the synchronous one."""
    adapter = recording.adapter

    async def look() -> Any:
        if recording.streamed:
            return await cases.look_at_form_async(recording.case, adapter.async_forms[recording.call], client)
        return await cases.look_at_call_async(adapter.async_calls[recording.call], client, None)

    with _replayed(recording):
        async with adapter.async_client(ROOT, TIMEOUT_S) as client:
            _skip_old(recording, client)
            without = await look()
            with recorded(adapter, recorder):
                seen = await look()
    assert steady(seen, adapter) == steady(without, adapter)
    check(recorder.one(), adapter, recording.case, seen)


def test_every_cassette_is_replayed() -> None:
    """Every expected recording exists and is replayed."""
    expected = {recording.path for recording in recordings()}
    assert set(next(iter(expected)).parents[1].rglob("*.yaml")) == expected
