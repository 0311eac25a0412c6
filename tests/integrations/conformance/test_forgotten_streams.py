"""Streams that an app reads a little and forgets: nothing of them is left in memory, whatever the library.

`benchmarks/integrations/bench_providers.py forgotten` measures it over 10,000 streams.
"""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from conformance import cases
from conformance.adapter import Adapter, adapters
from conformance.cases import CASES
from conformance.recording import recorded
from library_members import skip_without
from provider_server import ProviderServer
from span_recorder import SpanRecorder

FORM = "stream"
STREAMS = 5
OURS = ("pandaprobe_otel", "opentelemetry.sdk.trace")
COPY = ReadableSpan  # what an exporter got of an ended span; whoever exports may keep it
DROPPED = next(case for case in CASES if case.name == "dropped")


def _runs() -> Iterator[Any]:
    for adapter in adapters():
        if f"{FORM}/dropped" not in adapter.without and f"sync {FORM}/dropped" not in adapter.without:
            yield pytest.param(
                adapter, id=adapter.title, marks=[pytest.mark.filterwarnings(text) for text in adapter.warns]
            )


def _alive() -> Counter[str]:
    gc.collect()
    found = (type(one) for one in gc.get_objects())
    return Counter(kind.__qualname__ for kind in found if str(kind.__module__).startswith(OURS) and kind is not COPY)


def _ended(recorder: SpanRecorder, streams: int) -> int:
    """Wait for the ends of forgotten streams: some stand in a cycle, litellm's end in a thread of its own."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and len(recorder.spans) < streams:
        gc.collect()
        time.sleep(0.02)
    return len(recorder.spans)


@pytest.mark.parametrize("adapter", [*_runs()])
def test_nothing_is_left(adapter: Adapter, clients: Any, server: ProviderServer, recorder: SpanRecorder) -> None:
    """After many forgotten streams, no object of ours is alive that was not there before."""
    client = clients(adapter, 20.0)
    for beginning, path in adapter.needs.items():
        if FORM.startswith(beginning):
            skip_without(client, path)
    server.replies(DROPPED.reply(adapter, True))

    def forget() -> None:
        cases.look_at_form(DROPPED, adapter.forms[FORM], client)

    with recorded(adapter, recorder):
        forget()  # what is made once, and kept
        assert _ended(recorder, 1) == 1
        recorder.clear()
        before = _alive()
        for _ in range(STREAMS):
            forget()
        assert _ended(recorder, STREAMS) == STREAMS
        recorder.clear()
        assert _alive() - before == Counter()
