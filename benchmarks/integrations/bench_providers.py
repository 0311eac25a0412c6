"""Cost of recording for each client library, in CPU time, next to other vendors' instrumentations.

The client uses a transport in this process, so nothing waits for a socket. The same calls run without instrumentation
and with each one, alternating, each in a child process. A figure is the median of the added cost in paired rounds, with
quartiles and the difference of the cheapest rounds. The tracer provider has one span processor, which counts. A chunk
is one of a stream of two hundred, and includes its share of the span's cost.

    python benchmarks/integrations/vendors.py install   # once, the vendors in an environment, in which the rest runs
    python benchmarks/integrations/bench_providers.py [rounds] [sync|async] [calls|chunks] [library ...]
    python benchmarks/integrations/bench_providers.py forgotten [streams] [sync|async] [library ...]

Each library is measured for at most 80 seconds (BENCH_SECONDS), even if not all rounds are done. `forgotten` instead
reports the memory that the given number of streams (10,000) leave behind if they are read a little and dropped.
"""

from __future__ import annotations

import gc
import logging
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import vendors
from clients import CLIENTS
from forgotten import COUNT, left_behind
from forms import Form
from paired import OURS, Added, Figures, measured, of_vendor, ours_of

SECONDS: Final = float(os.environ.get("BENCH_SECONDS") or 80)
ROUNDS: Final = 60
HEAD: Final = "| library | form | without, us | ours | | others |\n| --- | --- | ---: | --- | --- | --- |"


def main() -> None:
    """Print a table."""
    logging.disable(logging.CRITICAL)
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    arguments = sys.argv[1:]
    print("| library | forgotten | KiB more | KiB at the peak |" if "forgotten" in arguments else HEAD)
    number = next((int(argument) for argument in arguments if argument.isdigit()), None)
    modes = [mode for mode in ("sync", "async") if mode in arguments] or ["sync", "async"]
    kinds = [kind for kind in ("calls", "chunks") if kind in arguments] or ["calls", "chunks"]
    for library in [argument for argument in arguments if argument in CLIENTS] or list(CLIENTS):
        make = partial(made, library, modes, kinds)
        if "forgotten" in arguments:
            lines = forgotten(library, make(), number or COUNT)
        else:
            lines = compared(library, make, number or ROUNDS)
        for told in lines:
            print(told, flush=True)


def made(library: str, modes: Sequence[str], kinds: Sequence[str]) -> list[Form]:
    """Return the forms of a library that are synchronous or asynchronous, calls or streams."""
    forms = [form for form in CLIENTS[library]() if form.name.split()[0] in modes]
    return [form for form in forms if ("calls" if form.forget is None else "chunks") in kinds]


def compared(library: str, make: Callable[[], Sequence[Form]], rounds: int) -> Iterator[str]:
    """Yield the lines of one library: the added cost of each instrumentation in each form."""
    began = time.monotonic()
    instrumentations = [ours_of(library)]
    for vendor in vendors.VENDORS[library]:
        try:
            instrumentations.append(of_vendor(vendor))
        except ImportError as error:
            yield f"{library}: without {vendor.distribution}, which {error}"
    make()  # imports the client
    gc.freeze()  # keeps the libraries' objects out of collections, and child processes from copying them
    figures = measured(make, instrumentations, rounds, time.monotonic() + SECONDS)
    for form in make():
        yield line(library, form, figures[form.name])
    done = len(next(iter(figures.values())).plain)
    yield f"{library}: {done} rounds in {time.monotonic() - began:.0f} s"


def line(library: str, form: Form, figures: Figures) -> str:
    """Return a row: the form, the cost of a unit without instrumentation, our added cost, the verdict, the others'
    added cost.
    """
    others = {name: figures.added(name) for name in figures.spent if name != OURS and name not in figures.failures}
    ours = figures.added(OURS)
    told = [f"{name} {_told(found)}" for name, found in others.items()]
    told += [f"{name} {failure}" for name, failure in figures.failures.items()]
    verdict = _verdict(form, ours.median, {name: found.median for name, found in others.items()})
    plain = statistics.median(figures.plain)
    return f"| {library} | {form.name} | {plain:.1f} | {_told(ours)} | {verdict} | {', '.join(told) or '–'} |"


def _told(added: Added) -> str:
    return f"{added.median:+.1f} ({added.low:.1f} to {added.high:.1f}; {added.least:.1f})"


def _verdict(form: Form, ours: float, others: Mapping[str, float]) -> str:
    if ours <= form.bound_us:
        return f"within {form.bound_us:.0f}"
    if others and ours <= min(others.values()):
        return "least of all"
    return f"{ours - form.bound_us:.1f} over {form.bound_us:.0f}"


def forgotten(library: str, forms: Sequence[Form], count: int) -> Iterator[str]:
    """Yield the lines of one library: the memory left by forgotten streams, in each form of a stream."""
    for form in forms:
        if form.forget is not None:
            grown, peak = left_behind(ours_of(library), form.forget, count)
            yield f"| {library} | {form.name} | {grown:.0f} | {peak:.0f} |"


if __name__ == "__main__":
    vendors.run_there()
    main()
