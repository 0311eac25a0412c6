"""The same numbers as `status()`, as OpenTelemetry metrics, under the names that the SDK uses for its own parts.

Names and attributes are those of the semantic conventions for SDK self-observability (`otel.sdk.*`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Final

from opentelemetry.metrics import CallbackOptions, Observation, get_meter

from pandaprobe_otel.delivery.ledger import LedgerCounts

COMPONENT_TYPE: Final = "pandaprobe_span_processor"

_numbers = itertools.count()


def observe(counts: Callable[[], LedgerCounts | None]) -> None:
    """Register the instruments. `counts` reads the ledger at each collection; None ends the observation."""
    component = {
        "otel.component.type": COMPONENT_TYPE,
        "otel.component.name": f"{COMPONENT_TYPE}/{next(_numbers)}",
    }

    def processed(options: CallbackOptions) -> Iterable[Observation]:
        if (now := counts()) is None:
            return
        yield Observation(now.ended - sum(now.dropped.values()), component)
        for reason, count in now.dropped.items():
            yield Observation(count, {**component, "error.type": reason})

    def exported(options: CallbackOptions) -> Iterable[Observation]:
        if (now := counts()) is not None:
            yield Observation(now.delivered, component)

    def waiting(options: CallbackOptions) -> Iterable[Observation]:
        if (now := counts()) is not None:
            yield Observation(now.pending, component)

    def answered(options: CallbackOptions) -> Iterable[Observation]:
        if (now := counts()) is not None:
            for meaning, count in now.answers.items():
                yield Observation(count, {**component, "pandaprobe.answer": meaning})

    meter = get_meter("pandaprobe_otel")
    meter.create_observable_counter("otel.sdk.processor.span.processed", [processed], "{span}", "Spans that ended")
    meter.create_observable_counter("otel.sdk.exporter.span.exported", [exported], "{span}", "Spans delivered")
    meter.create_observable_up_down_counter("otel.sdk.processor.span.queue.size", [waiting], "{span}", "Spans waiting")
    meter.create_observable_counter("pandaprobe_otel.answers", [answered], "{request}", "Answers by what they meant")
