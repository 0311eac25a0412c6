"""Streams of every library that stop at any byte: the app sees what it saw without us, and one span has what came.

By default a few bytes of each stream are tried; this tries all of them, in about half an hour of CPU time:

    EVERY_BYTE=1 pytest -n auto tests/integrations/conformance/test_cut_anywhere.py
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from conformance import cases
from conformance.adapter import Adapter, adapters
from conformance.cases import CASES
from conformance.recording import recorded
from conformance.verdict import check_text, steady
from library_members import skip_without
from provider_server import ProviderServer, Reply
from span_recorder import SpanRecorder
from streamed_forms import Sighting

# litellm makes an event loop for a synchronous stream that fails, and the next test with a loop finds it forgotten.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")
FORM = "stream"
TIMEOUT_S = 20.0
SAMPLES = 4
READ = next(case for case in CASES if case.name == "read to the end")


def _runs() -> Iterable[Any]:
    for adapter in adapters():
        marks = [pytest.mark.filterwarnings(text) for text in adapter.warns]
        yield pytest.param(adapter, id=adapter.title, marks=marks)


def _offsets(body: bytes) -> Sequence[int]:
    """All, or some that fall into different parts of different events."""
    return range(len(body) + 1) if os.environ.get("EVERY_BYTE") else range(1, len(body) + 1, len(body) // SAMPLES)


def _cut(adapter: Adapter, offset: int, *, breaks: bool) -> Reply:
    body = b"".join(adapter.answer.chunks)[:offset]
    return Reply(chunks=(body,) if body else (), content_type=adapter.answer.stream_type, breaks_off=breaks)


def _compare(adapter: Adapter, seen: list[Sighting], without: list[Sighting], spans: list[ReadableSpan]) -> None:
    assert [steady(one, adapter) for one in seen] == [steady(one, adapter) for one in without]
    assert len(spans) == len(seen)
    for span, one in zip(spans, seen, strict=True):
        check_text(span, adapter, one)


@pytest.mark.parametrize("breaks", [False, True], ids=["ends", "breaks"])
@pytest.mark.parametrize("adapter", [*_runs()])
def test_synchronous(
    adapter: Adapter, breaks: bool, clients: Any, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """Whether the body just ends there, or the connection breaks."""
    client = clients(adapter, TIMEOUT_S)
    _skip_old(adapter, client)

    def look(offset: int) -> Sighting:
        server.replies(_cut(adapter, offset, breaks=breaks))
        return cases.look_at_form(READ, adapter.forms[FORM], client)

    offsets = _offsets(b"".join(adapter.answer.chunks))
    without = [look(offset) for offset in offsets]
    with recorded(adapter, recorder):
        seen = [look(offset) for offset in offsets]
    _compare(adapter, seen, without, recorder.spans)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("breaks", [False, True], ids=["ends", "breaks"])
@pytest.mark.parametrize("adapter", [*_runs()])
async def test_asynchronous(
    adapter: Adapter, breaks: bool, async_clients: Any, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """The same for the asynchronous client."""
    client = await async_clients(adapter, TIMEOUT_S)
    _skip_old(adapter, client)

    async def look(offset: int) -> Sighting:
        server.replies(_cut(adapter, offset, breaks=breaks))
        return await cases.look_at_form_async(READ, adapter.async_forms[FORM], client)

    offsets = _offsets(b"".join(adapter.answer.chunks))
    without = [await look(offset) for offset in offsets]
    with recorded(adapter, recorder):
        seen = [await look(offset) for offset in offsets]
    _compare(adapter, seen, without, recorder.spans)


def _skip_old(adapter: Adapter, client: Any) -> None:
    for beginning, path in adapter.needs.items():
        if FORM.startswith(beginning):
            skip_without(client, path)
