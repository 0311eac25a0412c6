"""Bursts of spans at a healthy server: no span is dropped for lack of room, and room is counted in bytes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.trace import Tracer

from pandaprobe_otel import PandaProbeSpanProcessor
from pandaprobe_otel.assembly.assembler import Assembler
from pandaprobe_otel.assembly.timing import Timing
from pandaprobe_otel.assembly.worker import Worker
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.mapping.sdk_span import span_of, text_size
from spans import CHAT, provider_with
from strict_pandaprobe import StrictPandaProbe
from waiting import wait_until

TRACER = TracerProvider(shutdown_on_exit=False).get_tracer("t")
TEXT = "x" * (3 << 20)
THREADS, IN_EACH, TASKS = 16, 1250, 10_000


def in_threads(tracer: Tracer) -> None:
    """Make a trace in each of several threads, as fast as possible."""

    def work() -> None:
        with tracer.start_as_current_span("run", attributes=CHAT):
            for _ in range(IN_EACH - 1):
                with tracer.start_as_current_span("step", attributes=CHAT) as span:
                    span.set_attribute("pandaprobe.input", '"question"')

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def in_tasks(tracer: Tracer) -> None:
    """Open the spans of all tasks at once."""

    async def task(everyone: asyncio.Event) -> None:
        with tracer.start_as_current_span("step", attributes=CHAT):
            await everyone.wait()

    async def main() -> None:
        everyone = asyncio.Event()
        with tracer.start_as_current_span("run", attributes=CHAT):
            tasks = [asyncio.create_task(task(everyone)) for _ in range(TASKS)]
            await asyncio.sleep(0)
            everyone.set()
            await asyncio.gather(*tasks)

    asyncio.run(main())


@pytest.mark.outer
def test_traces_that_begin_together_lose_nothing_for_want_of_room() -> None:
    """Ten thousand concurrent traces, most of which wait for the rate limit, drop no span for lack of room."""

    async def task(everyone: asyncio.Event) -> None:
        with tracer.start_as_current_span("run", attributes=CHAT), tracer.start_as_current_span("step"):
            await everyone.wait()

    async def main() -> None:
        everyone = asyncio.Event()
        tasks = [asyncio.create_task(task(everyone)) for _ in range(TASKS)]
        await asyncio.sleep(0)
        everyone.set()
        await asyncio.gather(*tasks)

    with StrictPandaProbe() as server:
        processor = PandaProbeSpanProcessor(api_key="sk_pp_x", project_name="shop", endpoint=server.url)
        with provider_with(processor) as tracer:
            asyncio.run(main())
            processor.force_flush(1)
            wait_until(lambda: processor.pipeline.status().spans_ended == 2 * TASKS)
            assert "queue_full" not in processor.pipeline.status().spans_dropped
            processor.pipeline.shutdown(0.0)


@given(st.lists(st.sampled_from([3 << 20, 1 << 20, 100_000, 1999, 0]), min_size=20, max_size=60), st.booleans())
@settings(max_examples=30)
def test_texts_that_wait_for_a_busy_worker_are_bounded(sizes: list[int], may_cut: bool) -> None:
    """Texts beyond the bound are cut and marked, or, if a mask forbids cutting, left out whole."""
    bound = 8 << 20
    worker = Worker(
        assembler=lambda: Assembler(timing=Timing(), counts_starts=True, max_bytes=bound),
        deliver=lambda segment: None,
        ledger=(ledger := Ledger()),
        notices=Notices(lambda: 0.0),
        max_bytes=bound,
        may_cut=may_cut,
    )
    worker.is_started = True  # so that the worker never checks
    for number, size in enumerate(sizes):
        made = TRACER.start_span(str(number), attributes={"text": TEXT[:size]})
        assert isinstance(made, Span)
        if number % 2:
            worker.started(made)
        made.end()
        worker.ended(made)
    waiting = [fields for fields in (*worker._new.values(), *worker._ended) if isinstance(fields, tuple)]
    assert sum(text_size(fields) for fields in waiting) <= 2 * bound
    assert len(waiting) + ledger.read().dropped.get("queue_full", 0) == len(sizes)
    assert not (may_cut and ledger.read().dropped)  # cut spans always have room
    for span in map(span_of, waiting):
        size, text = sizes[int(span.name)], str((span.attributes or {})["text"])
        assert len(text) == size or text.endswith(f"of {size} characters]")
        assert may_cut or len(text) == size or text.startswith("…")


@pytest.mark.parametrize(
    ("burst", "spans"), [(in_threads, THREADS * IN_EACH), (in_tasks, TASKS + 1)], ids=["threads", "tasks"]
)
def test_a_burst_at_a_healthy_server_loses_nothing(burst: Callable[[Tracer], None], spans: int) -> None:
    """A burst of spans before the worker's next check drops nothing."""
    with StrictPandaProbe() as server:
        processor = PandaProbeSpanProcessor(api_key="sk_pp_x", project_name="shop", endpoint=server.url)
        with provider_with(processor) as tracer:
            burst(tracer)
            assert processor.force_flush(120_000)
            status = processor.pipeline.status()
    assert dict(status.spans_dropped) == {}
    assert status.spans_delivered == status.spans_ended >= spans
    assert sum(len(trace.spans) for trace in server.traces.values()) == spans
