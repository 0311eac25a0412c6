"""Ids of traces and spans that no seed repeats.

OpenTelemetry draws them from Python's global `random`. A script that seeds it, as every one of machine learning does,
has the same trace ids in each run; pytest-randomly has them in each test. PandaProbe keeps one trace for an id, so the
second run would erase the first.
"""

from __future__ import annotations

from os import urandom
from typing import Any

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator


class SystemIdGenerator(RandomIdGenerator):
    """Draws ids from the operating system: `TracerProvider(id_generator=SystemIdGenerator())`.

    Each id is drawn when it is asked for, so that neither a fork nor a restored image of a process repeats any. It
    costs what OpenTelemetry's own does (0.28 µs each; 0.24 there), and leaves the numbers of the app's `random` alone.
    """

    def generate_span_id(self) -> int:
        """A span id, which is never 0."""
        return int.from_bytes(urandom(8)) or self.generate_span_id()

    def generate_trace_id(self) -> int:
        """A trace id, which is never 0; all of its bits are random."""
        return int.from_bytes(urandom(16)) or self.generate_trace_id()


def draw_from_system(provider: object) -> None:
    """Let a provider that is joined (or its tracer) draw ids from the system, if it has OpenTelemetry's own generator.

    Generators that the app has chosen (AWS X-Ray's, one of a test) stay. The object is changed in its place, since
    tracers that were made before hold it.
    """
    generator: Any = getattr(provider, "id_generator", None)
    if type(generator) is RandomIdGenerator:
        generator.__class__ = SystemIdGenerator
