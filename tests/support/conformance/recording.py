"""A context in which the integrations of an adapter are active."""

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
    """Record the calls of the library, and of the libraries that it calls, within the block."""
    names = (adapter.integration, *adapter.also)
    try:
        for name in names:
            assert instrument(name, tracer_provider=recorder.provider).state == "hooked"
        yield
    finally:
        for name in names:
            uninstrument(name)


def await_span(recorder: SpanRecorder) -> None:
    """Wait for a span: the threads of a library may hold a forgotten stream a moment longer than the app."""
    deadline = time.monotonic() + PATIENCE_S
    while not recorder.spans and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.005)
