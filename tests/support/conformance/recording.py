"""Turning the instrumentations of an adapter on for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pandaprobe_otel.registry import instrument, uninstrument
from span_recorder import SpanRecorder

from .adapter import Adapter


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
