"""Turning the instrumentations of an adapter on for a while."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pandaprobe_otel.registry import instrument, uninstrument
from span_recorder import SpanRecorder

from .adapter import Adapter

PATIENCE_S: Final = 60.0


@contextmanager
def recorded(adapter: Adapter, recorder: SpanRecorder) -> Iterator[None]:
    """The library, and what it calls, is recorded inside the block."""
    names = (adapter.integration, *adapter.beside)
    try:
        for name in names:
            assert instrument(name, tracer_provider=recorder.provider).state == "hooked"
        yield
    finally:
        for name in names:
            uninstrument(name)


def await_span(recorder: SpanRecorder) -> None:
    """A library's own threads may hold a forgotten stream for a moment longer than the app."""
    deadline = time.monotonic() + PATIENCE_S
    while not recorder.spans and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.005)
