"""Paired measurements: the same work with each instrumentation and with none, in turns, in one process."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any, Final

from forms import Form
from opentelemetry.instrumentation.dependencies import get_dependency_conflicts
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from vendors import Vendor

from pandaprobe_otel.registry import instrument, uninstrument

OURS: Final = "pandaprobe-otel"
WORK_S: Final = 0.0015
"""CPU time of one sample, about: long beside the clock's resolution, short beside the time slice of a busy machine."""
SAMPLES: Final = 8
"""Of which the least counts: what a busy machine does to one is never less than nothing. Of streams there are three."""


class Counting(SpanProcessor):
    """The least that a pipeline can do: it counts, and drops."""

    ended = 0

    def on_end(self, span: ReadableSpan) -> None:
        """A span has ended."""
        self.ended += 1


spans: Final = Counting()
provider: Final = TracerProvider()
provider.add_span_processor(spans)


@dataclass(frozen=True, slots=True)
class Instrumentation:
    """Something that can be turned on and off."""

    name: str
    on: Callable[[], Any]
    off: Callable[[], Any]


def ours_of(library: str) -> Instrumentation:
    """This library's instrumentation."""
    on = partial(instrument, library, tracer_provider=provider)
    return Instrumentation(OURS, on, partial(uninstrument, library))


def of_vendor(vendor: Vendor) -> Instrumentation:
    """Another vendor's. Raises ImportError, with a reason, where it cannot be used with the client that is here."""
    module, _, class_name = vendor.target.partition(":")
    try:
        made = getattr(import_module(module), class_name)()
    except Exception as error:
        raise ImportError(f"cannot be imported ({type(error).__name__})") from error
    conflict = get_dependency_conflicts(made.instrumentation_dependencies())
    if conflict is not None:
        raise ImportError(f"wants {conflict.required}")
    return Instrumentation(vendor.name, partial(made.instrument, tracer_provider=provider), made.uninstrument)


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """Median and quartiles of the differences within a round; `least` is that of the cheapest rounds of each."""

    low: float
    median: float
    high: float
    least: float


@dataclass(slots=True)
class Figures:
    """What was measured of one form: microseconds of CPU for a unit, by round."""

    plain: list[float] = field(default_factory=list[float])
    spent: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    failures: dict[str, str] = field(default_factory=dict[str, str])

    def added(self, name: str) -> Added:
        """What `name` adds."""
        spent = self.spent[name]
        differences = [one - plain for one, plain in zip(spent, self.plain, strict=False)]
        low, middle, high = statistics.quantiles(differences, n=4)
        return Added(low=low, median=middle, high=high, least=min(spent) - min(self.plain))


def measured(
    make: Callable[[], Sequence[Form]], instrumentations: Sequence[Instrumentation], rounds: int, until: float
) -> Mapping[str, Figures]:
    """The figures by the name of the form: of `rounds` rounds, of fewer when `until` (of `monotonic`) is reached.

    `make` makes the clients. Each instrumentation has its own, made while it is on: some patch no client but new ones.
    """
    forms = make()
    own = {each.name: _made(each, make) for each in instrumentations}
    figures = {form.name: Figures() for form in forms}
    times = {form.name: _times(form) for form in forms}
    for turn in range(rounds):
        if turn > 2 and time.monotonic() > until:
            break
        plain = {form.name: _unit_us(form, times[form.name]) for form in forms}
        for name, spent in plain.items():
            figures[name].plain.append(spent)
        # Whoever comes first in one round comes last in the next.
        for each in instrumentations if turn % 2 == 0 else reversed(instrumentations):
            _measure(each, own[each.name], times, figures)
    return figures


def _made(instrumentation: Instrumentation, make: Callable[[], Sequence[Form]]) -> Sequence[Form]:
    instrumentation.on()
    try:
        return make()
    finally:
        instrumentation.off()


def _measure(
    instrumentation: Instrumentation,
    forms: Sequence[Form],
    times: Mapping[str, int],
    figures: Mapping[str, Figures],
) -> None:
    name = instrumentation.name
    instrumentation.on()
    try:
        for form in forms:
            found = figures[form.name]
            if name in found.failures:
                continue
            before = spans.ended
            try:
                spent = _unit_us(form, times[form.name])
            except Exception as error:  # noqa: BLE001 - what another vendor's instrumentation does to a call
                found.failures[name] = f"raises {type(error).__name__}"
                continue
            if spans.ended == before:
                found.failures[name] = "makes no span"
                continue
            found.spent.setdefault(name, []).append(spent)
    finally:
        instrumentation.off()


def _unit_us(form: Form, times: int) -> float:
    form.run(times)  # the interpreter adapts to what it runs
    samples = SAMPLES if form.units == 1 else 3
    return min(_cpu_us(form, times) for _ in range(samples)) / (times * form.units)


def _cpu_us(form: Form, times: int) -> float:
    gc.collect()
    gc.disable()
    try:
        start = form.clock()
        form.run(times)
        return (form.clock() - start) / 1000
    finally:
        gc.enable()


def _times(form: Form) -> int:
    form.run(2)
    return max(1, round(WORK_S * 1e6 / (_cpu_us(form, 2) / 2)))
