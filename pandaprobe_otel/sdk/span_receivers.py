"""Our processors and exporters in a tracer provider: only one of them delivers to each destination.

A variable or a configuration file may add an exporter, while the app's code and `init()` each add a processor.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, ClassVar, Unpack, cast

from pandaprobe_otel.config.resolve import ExportSettings, receiver_settings
from pandaprobe_otel.pipeline.interface import Pipeline
from pandaprobe_otel.process.process_events import signals_wait

_logger = logging.getLogger("pandaprobe_otel")


class SpanReceiver:
    """Base of our span processor and exporter."""

    pipeline: Pipeline
    sees_starts: ClassVar[bool]
    stands_aside = False
    """True if another receiver delivers to the same destination."""
    outlives_provider = False
    """True if the pipeline also serves other providers, so that the end of this one does not end it."""

    def __init__(self, *, pipeline: Pipeline | None = None, **settings: Unpack[ExportSettings]) -> None:
        if pipeline is None:
            from pandaprobe_otel.pipeline.opening import open_pipeline  # looking for receivers does not need it

            pipeline = open_pipeline(receiver_settings(settings), counts_starts=self.sees_starts)
        self._seen: Any = None
        self.lead_to(pipeline)

    def lead_to(self, pipeline: Pipeline) -> None:
        """Pass spans to this pipeline from now on."""
        self.pipeline = pipeline

    def shutdown(self) -> None:
        """Deliver as much as possible within the shutdown timeout, then stop."""
        if self.outlives_provider:
            return
        with signals_wait():  # providers shut down at exit, before our own exit handler
            self.pipeline.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Deliver every trace whose root has ended; return False if that exceeds the timeout."""
        return self.pipeline.flush(timeout_millis / 1000)


def receivers_in(processor: Any) -> Iterator[SpanReceiver]:
    """Yield our receivers among a provider's span processors and their exporters, in order."""
    if isinstance(processor, SpanReceiver):
        yield processor
        return
    inside: Any = getattr(processor, "_span_processors", ())
    if type(inside) is not tuple:  # a mock has every attribute
        inside = ()
    for inner in cast("tuple[Any, ...]", inside):
        yield from receivers_in(inner)
    batch = getattr(processor, "_batch_processor", processor)
    exporter = getattr(processor, "span_exporter", None) or getattr(batch, "_exporter", None)
    if isinstance(exporter, SpanReceiver):
        yield exporter


def choose(processor: Any) -> None:
    """Choose one receiver for each destination: the first that sees spans start, else the first."""
    chosen: dict[str, SpanReceiver] = {}
    for receiver in sorted(receivers_in(processor), key=lambda each: not each.sees_starts):
        place = receiver.pipeline.destination
        if place is None:
            continue
        first = chosen.setdefault(place, receiver)
        if first is receiver or first.pipeline is receiver.pipeline or receiver.stands_aside:
            continue
        receiver.stands_aside = True
        _logger.warning(
            "pandaprobe-otel: the tracer provider sends to %s twice: %s delivers, and %s is ignored with its settings.",
            place,
            type(first).__name__,
            type(receiver).__name__,
        )
