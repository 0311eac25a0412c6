"""Our processors and exporters in a tracer provider: only one of them delivers to each destination.

A variable or a configuration file may add an exporter, while the app's code and `init()` each add a processor.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypedDict, Unpack, cast

from pandaprobe_otel.config.resolve import Config, Problem
from pandaprobe_otel.config.settings import OF_RECEIVERS
from pandaprobe_otel.pipeline.interface import Pipeline
from pandaprobe_otel.process.process_events import signals_wait

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

_logger = logging.getLogger("pandaprobe_otel")


class ExportSettings(TypedDict, total=False):
    """Settings that a span processor or exporter takes. scripts/write_docs.py writes each from its declaration."""

    api_key: str | Callable[[], str] | None
    project_name: str | None
    endpoint: str | None
    environment: str | None
    release: str | None
    enabled: bool | None
    spans: Literal["agent", "all"] | Callable[[ReadableSpan], bool] | None
    media: Literal["digest", "inline"] | None
    capture: Literal["all", "metadata", "off"] | Mapping[str, str] | None
    mask: Any
    scrub: bool | Literal["all"] | None
    compute_cost: bool | None
    sample_rate: float | None
    local: str | os.PathLike[str] | None
    spool: str | os.PathLike[str] | None
    redis_url: str | None
    live: bool | None
    max_traces_per_day: int | None
    max_queue_bytes: int | None
    max_spool_bytes: int | None
    shutdown_timeout_s: float | None


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

            pipeline = open_pipeline(_config(settings), counts_starts=self.sees_starts)
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


def _config(given: Mapping[str, Any]) -> Config:
    """Resolve the settings; an unknown one becomes a problem, not an exception.

    OpenTelemetry's configuration file passes on everything that it contains, and an exception would stop all telemetry.
    """
    config = Config.resolve({name: value for name, value in given.items() if name in OF_RECEIVERS})
    problems = [
        Problem(setting=name, message=f"{name} is not a setting of a span processor or exporter; it is ignored.")
        for name in given
        if name not in OF_RECEIVERS
    ]
    return dataclasses.replace(config, problems=(*config.problems, *problems)) if problems else config


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
