"""Cost of recording for each client library, in CPU time, next to other vendors' instrumentations.

The calls and answers are those of the conformance tests, with streams made longer, and their loopback server is in
the parent process. The same calls run without instrumentation and with each one, alternating, each in a child process
in which nothing was ever instrumented: some vendors leave wrappers behind when they are turned off. A figure is the
median of the added cost in paired rounds, with quartiles and the difference of the cheapest rounds. The tracer
provider has one span processor, which counts. A chunk is one of a stream of two hundred, and includes its share of the
span's cost.

    python benchmarks/integrations/bench_providers.py install           # once: an environment with the other vendors
    python benchmarks/integrations/bench_providers.py [rounds] [API ...]

The environment is below BENCH_VENVS (default: pandaprobe-otel-bench in the temporary directory). If it exists, the
benchmark switches to it by itself. An API is named as on docs/providers.md ("openai responses"). Each is measured for
at most 80 seconds (BENCH_SECONDS), even if not all rounds are done.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from opentelemetry.instrumentation.dependencies import get_dependency_conflicts
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

import streamed_forms
from conformance.adapter import Adapter, Wire, adapters
from pandaprobe_otel.registry import instrument
from provider_server import ProviderServer, Received, Reply

ROOT: Final = Path(__file__).resolve().parents[2]
HOME: Final = (
    Path(os.environ.get("BENCH_VENVS") or Path(tempfile.gettempdir()) / "pandaprobe-otel-bench") / "integrations"
)
SECONDS: Final = float(os.environ.get("BENCH_SECONDS") or 80)
ROUNDS: Final = 60
CHUNKS: Final = 200
SAMPLES: Final = 3
"""Number of samples, of which the smallest counts: a busy machine only ever adds time."""
TIMES: Final = {"call": 30, "chunk": 2}
"""Calls and streams in a sample."""
OURS: Final = "pandaprobe-otel"
WITHOUT: Final = "without"
LIBRARIES: Final = tuple(dict.fromkeys(adapter.integration for adapter in adapters()))
MORE: Final[Mapping[str, Sequence[str]]] = {
    "anthropic": ("genai-anthropic",),
    "bedrock": ("genai-bedrock", "botocore"),
    "google_genai": ("google-generativeai",),
    "openai": ("genai-openai",),
}
"""Distributions of OpenTelemetry and of OpenLLMetry beside those that are named like the library."""


def vendors(library: str) -> set[str]:
    """Return the distributions that instrument a library; their entry points name the classes."""
    name = library.replace("_", "-")
    more = (f"opentelemetry-instrumentation-{each}" for each in (name, *MORE.get(library, ())))
    return {f"openinference-instrumentation-{name}", *more}


KEPT: Final[list[object]] = []
"""Clients, which would close if they were dropped."""
Form = Callable[[int], None]
"""Makes so many calls, or reads so many streams."""


class Counting(SpanProcessor):
    """The cheapest pipeline: it counts spans and drops them."""

    ended = 0

    def on_end(self, span: ReadableSpan) -> None:
        self.ended += 1


class Unseen(streamed_forms.Sighting):
    """An app that does nothing with what it gets."""

    def saw(self, value: Any) -> Any:
        return value

    def read(self, item: Any) -> None:
        pass


spans: Final = Counting()
provider: Final = TracerProvider()
provider.add_span_processor(spans)


def forms(adapter: Adapter, url: str) -> dict[str, Form]:
    """Return the forms of an API on new clients, since some vendors patch only new clients."""
    assert adapter.async_client is not None
    opened, async_opened = adapter.client(url, 60), adapter.async_client(url, 60)
    loop = asyncio.new_event_loop()
    KEPT.extend([opened, async_opened, loop])
    clients = opened.__enter__(), loop.run_until_complete(async_opened.__aenter__())
    unseen, found = Unseen(), dict[str, Form]()
    for mode, client, run in zip(
        ("sync", "async"), clients, (streamed_forms.finished, loop.run_until_complete), strict=True
    ):
        found[f"{mode} call"] = repeated(run, partial(adapter.calls["plain"], client, unseen))
        if (stream := adapter.forms.get("stream")) is not None:
            found[f"{mode} chunk"] = repeated(run, partial(streamed_forms.read_to_the_end, stream, client, unseen))
    return found


def repeated(run: Callable[[Any], object], make: Callable[[], Awaitable[None]]) -> Form:
    async def repeat(times: int) -> None:
        for _ in range(times):
            await make()

    def measured(times: int) -> None:
        run(repeat(times))

    return measured


def answers(wire: Wire) -> Callable[[Received], Reply]:
    """Return the provider of a benchmark: two words of the stream alternate until it is long enough."""
    at = wire.opening - 1
    words = tuple(wire.chunks[at - 2 : at]) * (CHUNKS // 2)
    whole = Reply(chunks=(wire.whole,), headers=dict(wire.headers))
    long = Reply(chunks=(*wire.chunks[:at], *words, *wire.chunks[at:]), content_type=wire.stream_type)
    return lambda asked: long if "stream" in asked.path or b'"stream":true' in asked.body.replace(b" ", b"") else whole


def instrumentations(library: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield the names of the instrumentations, and the functions that turn them on; print those that do not fit."""
    yield WITHOUT, lambda: None
    yield OURS, partial(instrument, library, tracer_provider=provider)
    wanted = vendors(library)
    for point in entry_points(group="opentelemetry_instrumentor"):
        if point.dist is None or point.dist.name not in wanted:
            continue
        name = f"{point.dist.name.replace('-instrumentation', '')} ({point.name})"
        try:
            made = point.load()()
            if (conflict := get_dependency_conflicts(made.instrumentation_dependencies())) is not None:
                raise ImportError(f"wants {conflict.required}")
        except Exception as error:  # noqa: BLE001 - another vendor's instrumentation may raise anything
            print(f"{library}: without {name}: {type(error).__name__}: {error}")
        else:
            yield name, partial(made.instrument, tracer_provider=provider)


def turn(adapter: Adapter, url: str, turn_on: Callable[[], Any], name: str) -> dict[str, float | str]:
    """Return the microseconds of a unit of each form, or the reason why there is no figure."""
    turn_on()
    found: dict[str, float | str] = {}
    for title, run in forms(adapter, url).items():
        kind = title.split()[1]
        before = spans.ended
        try:
            run(2 * TIMES[kind])  # The interpreter adapts: turning an instrumentation on changes classes.
            units = TIMES[kind] * (CHUNKS if kind == "chunk" else 1)
            gc.collect()
            found[title] = min(cpu_us(run, TIMES[kind]) for _ in range(SAMPLES)) / units
        except Exception as error:  # noqa: BLE001 - another vendor's instrumentation may raise anything
            found[title] = f"raises {type(error).__name__}"
        if spans.ended == before and name != WITHOUT:
            found[title] = "makes no span"
    return found


def cpu_us(run: Form, times: int) -> float:
    start = time.process_time_ns()
    run(times)
    return (time.process_time_ns() - start) / 1000


def in_child(work: Callable[[], object]) -> Any:
    """Return the result of a function in a forked process. Raises EOFError if it failed."""
    context = multiprocessing.get_context("fork")
    reading, writing = context.Pipe(duplex=False)
    child = context.Process(target=lambda: writing.send(work()))
    child.start()
    writing.close()
    try:
        return reading.recv()
    finally:
        child.join()


def measured(adapter: Adapter, rounds: int) -> Iterator[str]:
    """Yield the lines of one API: the added cost of each instrumentation in each form."""
    spent: dict[str, dict[str, list[float]]] = {}
    failures: dict[str, dict[str, str]] = {}
    until = time.monotonic() + SECONDS
    with ProviderServer() as server:
        server.script = answers(adapter.answer)
        turns = list(instrumentations(adapter.integration))
        gc.freeze()  # A collection in a child leaves alone what the parent has.
        for number in range(rounds):
            if number > 2 and time.monotonic() > until:
                break
            for name, turn_on in turns if number % 2 == 0 else reversed(turns):
                result = in_child(partial(turn, adapter, server.url, turn_on, name))
                for title, figure in result.items():
                    if isinstance(figure, str):
                        failures.setdefault(title, {})[name] = figure
                    else:
                        spent.setdefault(title, {}).setdefault(name, []).append(figure)
                server.received.clear()
    for title, by_name in spent.items():
        plain = by_name.pop(WITHOUT)
        cells = {name: added(figures, plain) for name, figures in by_name.items()}
        ours = cells.pop(OURS, "-")
        others = [f"{name} {cell}" for name, cell in cells.items()]
        others += [f"{name} {failure}" for name, failure in failures.get(title, {}).items()]
        yield f"| {adapter.title} | {title} | {statistics.median(plain):.1f} | {ours} | {', '.join(others) or '-'} |"


def added(figures: Sequence[float], plain: Sequence[float]) -> str:
    """Return the median of the differences within a round, with quartiles and the cheapest rounds."""
    differences = [one - other for one, other in zip(figures, plain, strict=False)]
    low, middle, high = statistics.quantiles(differences, n=4)
    return f"{middle:+.1f} ({low:.1f} to {high:.1f}; {min(figures) - min(plain):.1f})"


def install() -> None:
    """Create the environment, or update it: this library with every client, and the newest version of all vendors."""
    uv = [sys.executable, "-m", "uv"]
    wanted = {each for library in LIBRARIES for each in vendors(library)}
    ours = ("-e", f"{ROOT}[all]", "boto3", "aiobotocore", "pytest")
    subprocess.run([*uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, HOME], check=True)
    subprocess.run([*uv, "pip", "install", "-q", "-U", "--python", HOME / "bin" / "python", *ours, *wanted], check=True)
    print(HOME)


def main(arguments: Sequence[str]) -> None:
    """Print a table, or install."""
    if arguments == ["install"]:
        install()
        return
    there = HOME / "bin" / "python"
    if there.exists() and Path(sys.prefix).resolve() != HOME.resolve():
        os.execv(there, [str(there), *sys.argv])
    logging.disable(logging.CRITICAL)
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    rounds = next((int(argument) for argument in arguments if argument.isdigit()), ROUNDS)
    chosen = [argument for argument in arguments if not argument.isdigit()]
    print("| API | form | without, us | ours | others |\n| --- | --- | ---: | --- | --- |")
    for adapter in adapters():
        if adapter.title in (chosen or [adapter.title]):
            for line in measured(adapter, rounds):
                print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
