"""Paired measurements: the same calls with each instrumentation and with none, alternating.

Each measurement runs in a child of one process in which nothing was ever instrumented. Some vendors leave wrappers
behind when they are turned off, and add more the next time, which would slow down all later measurements.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any, Final

from forms import LOOP, Form
from opentelemetry.instrumentation.dependencies import get_dependency_conflicts
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from vendors import Vendor

from pandaprobe_otel.registry import instrument, uninstrument

OURS: Final = "pandaprobe-otel"
WORK_S: Final = 0.015
"""Approximate CPU time of one sample: dozens of calls.

Before the first sample, the interpreter gets twice that time to adapt: turning an instrumentation on changes classes,
and code that uses them becomes slow for a while.
"""
MIN_CALLS: Final = 10
"""Minimum number of calls in a sample, however long they take."""
SAMPLES: Final = 3
"""Number of samples, of which the smallest counts: a busy machine only ever adds time."""


class Counting(SpanProcessor):
    """The cheapest pipeline: it counts spans and drops them."""

    ended = 0

    def on_end(self, span: ReadableSpan) -> None:
        """Count an ended span."""
        self.ended += 1


spans: Final = Counting()
provider: Final = TracerProvider()
provider.add_span_processor(spans)


@dataclass(frozen=True, slots=True)
class Instrumentation:
    """An instrumentation that can be turned on and off."""

    name: str
    on: Callable[[], Any]
    off: Callable[[], Any]


def ours_of(library: str) -> Instrumentation:
    """Return this library's instrumentation, imported once for all measurements."""
    import_module(f"pandaprobe_otel_integrations.{library}")
    on = partial(instrument, library, tracer_provider=provider)
    return Instrumentation(OURS, on, partial(uninstrument, library))


def of_vendor(vendor: Vendor) -> Instrumentation:
    """Return another vendor's instrumentation. Raises ImportError, with a reason, if the client does not fit."""
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
    """Median and quartiles of the differences within a round; `least` compares the cheapest rounds."""

    low: float
    median: float
    high: float
    least: float


@dataclass(slots=True)
class Figures:
    """The measurements of one form: microseconds of CPU time for a unit, by round."""

    plain: list[float] = field(default_factory=list[float])
    spent: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    failures: dict[str, str] = field(default_factory=dict[str, str])

    def added(self, name: str) -> Added:
        """Return the added cost of `name`."""
        spent = self.spent[name]
        differences = [one - plain for one, plain in zip(spent, self.plain, strict=False)]
        low, middle, high = statistics.quantiles(differences, n=4)
        return Added(low=low, median=middle, high=high, least=min(spent) - min(self.plain))


NOTHING: Final = Instrumentation("without", lambda: None, lambda: None)


def measured(
    make: Callable[[], Sequence[Form]], instrumentations: Sequence[Instrumentation], rounds: int, until: float
) -> Mapping[str, Figures]:
    """Return the figures by name of the form, over `rounds` rounds, or fewer once `until` (of `monotonic`) is reached.

    `make` makes new clients for each measurement, since some vendors patch only new clients.
    """
    forms = make()
    figures = {form.name: Figures() for form in forms}
    times = {form.name: _times(form) for form in forms}
    turns = [NOTHING, *instrumentations]
    for turn in range(rounds):
        if turn > 2 and time.monotonic() > until:
            break
        # The order is reversed in every other round.
        for each in turns if turn % 2 == 0 else reversed(turns):
            for name, said in _in_child(partial(_turn, each, make, times)).items():
                _add(figures[name], each.name, said)
    return figures


def _add(figures: Figures, name: str, said: float | str) -> None:
    if isinstance(said, str):
        figures.failures[name] = said
    elif name == NOTHING.name:
        figures.plain.append(said)
    else:
        figures.spent.setdefault(name, []).append(said)


def _in_child(work: Callable[[], Mapping[str, float | str]]) -> Mapping[str, float | str]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            # The child has none of the parent's threads, so work for the loop's executor would never be done.
            LOOP.set_default_executor(ThreadPoolExecutor())
            os.write(writing, json.dumps(work()).encode())
        except BaseException:  # noqa: BLE001 - the child must not continue as the parent
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answer:
        said = answer.read()
    os.waitpid(child, 0)
    if not said:
        raise RuntimeError("a turn of the benchmark failed; what it printed is above")
    told: Mapping[str, float | str] = json.loads(said)
    return told


def _turn(
    instrumentation: Instrumentation, make: Callable[[], Sequence[Form]], times: Mapping[str, int]
) -> Mapping[str, float | str]:
    """Return the microseconds of a unit of each form, or the reason why there is no figure."""
    instrumentation.on()
    told: dict[str, float | str] = {}
    for form in make():
        before = spans.ended
        try:
            told[form.name] = _unit_us(form, times[form.name])
        except Exception as error:  # noqa: BLE001 - another vendor's instrumentation may raise anything
            told[form.name] = f"raises {type(error).__name__}"
            continue
        if spans.ended == before and instrumentation is not NOTHING:
            told[form.name] = "makes no span"
    return told


def _unit_us(form: Form, times: int) -> float:
    gc.collect()  # A collection empties the processor's caches, so it happens only before a sample.
    form.run(2 * times)
    return min(_cpu_us(form, times) for _ in range(SAMPLES)) / (times * form.units)


def _cpu_us(form: Form, times: int) -> float:
    start = time.process_time_ns()
    form.run(times)
    return (time.process_time_ns() - start) / 1000


def _times(form: Form) -> int:
    form.run(5)
    return max(1 if form.units > 1 else MIN_CALLS, round(WORK_S * 1e6 / (_cpu_us(form, 5) / 5)))
