"""Reports about the traces that a pipeline sends: metrics, and each trace in the terminal.

The metrics are the numbers of `status()`. Their names and attributes follow OpenTelemetry's semantic conventions for
SDK self-observability (`otel.sdk.*`). Metrics that the conventions do not define begin with `pandaprobe_otel.`.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from weakref import WeakMethod

import orjson
from opentelemetry.metrics import CallbackOptions, Observation, get_meter, get_meter_provider

from pandaprobe_otel.delivery.ledger import LedgerCounts
from pandaprobe_otel.delivery.parcel import Parcel
from pandaprobe_otel.traces.records import TraceRecord
from pandaprobe_otel.traces.text import trace_text

COMPONENT_TYPE: Final = "pandaprobe_span_processor"

_numbers = itertools.count()

_Value = tuple[float, dict[str, str]]
"""Value of a metric, and the attributes that distinguish it from the metric's other values."""
_Callback = Callable[[CallbackOptions], Iterable[Observation]]


def print_trace(parcel: Parcel) -> None:
    """Print a trace that is about to be posted as a tree on standard error."""
    body = {**orjson.loads(parcel.fields), "spans": [orjson.loads(span) for span in parcel.spans]}
    with suppress(AttributeError, OSError, ValueError):  # The app has no standard error, or has closed it.
        sys.stderr.write(f"{trace_text(TraceRecord(body))}\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Values of all metrics at one moment."""

    counts: LedgerCounts
    fill: float
    """Fill level of the queue of waiting traces, from 0 to 1."""


def register_metrics(reading: Callable[[], Reading]) -> None:
    """Register the metrics of one pipeline, whose method `reading` is called at each collection.

    When the pipeline is gone, nothing is reported. If the meter provider has shut down at the end of the process,
    nothing is registered: the SDK would warn the app.
    """
    read = WeakMethod(reading)
    if getattr(get_meter_provider(), "_shutdown", False) is True:  # the SDK has no public attribute for it
        return
    component = {
        "otel.component.type": COMPONENT_TYPE,
        "otel.component.name": f"{COMPONENT_TYPE}/{next(_numbers)}",
    }

    def callback(values: Callable[[Reading], Iterator[_Value]]) -> list[_Callback]:
        def observed(options: CallbackOptions) -> Iterable[Observation]:
            if (alive := read()) is not None:
                for value, attributes in values(alive()):
                    yield Observation(value, {**component, **attributes})

        return [observed]

    def one(value: Callable[[Reading], float]) -> list[_Callback]:
        def only(now: Reading) -> Iterator[_Value]:
            yield value(now), {}

        return callback(only)

    meter = get_meter("pandaprobe_otel")
    counter, gauge = meter.create_observable_counter, meter.create_observable_gauge
    counter("otel.sdk.processor.span.processed", callback(_processed), "{span}", "Ended spans, by reason if not sent")
    counter("otel.sdk.exporter.span.exported", one(lambda now: now.counts.delivered), "{span}", "Spans delivered")
    waiting = one(lambda now: now.counts.pending)
    meter.create_observable_up_down_counter("otel.sdk.processor.span.queue.size", waiting, "{span}", "Spans waiting")
    gauge(
        "pandaprobe_otel.queue.utilization", one(lambda now: now.fill), "1", "Used part of the queue of waiting traces"
    )
    counter("pandaprobe_otel.traces", one(lambda now: now.counts.traces_delivered), "{trace}", "Traces delivered")
    counter("pandaprobe_otel.budget.leases", one(lambda now: now.counts.leases), "{lease}", "Tokens taken for a trace")
    counter(
        "pandaprobe_otel.budget.wait", one(lambda now: now.counts.wait_s), "s", "Time that traces waited for tokens"
    )
    counter("pandaprobe_otel.answers", callback(_answers), "{request}", "Answers of the server, by meaning")


def _processed(now: Reading) -> Iterator[_Value]:
    yield now.counts.ended - sum(now.counts.dropped.values()), {}
    for reason, count in now.counts.dropped.items():
        yield count, {"error.type": reason}


def _answers(now: Reading) -> Iterator[_Value]:
    for meaning, count in now.counts.answers.items():
        yield count, {"pandaprobe.answer": meaning}
