"""Bursts of spans at a healthy server: no span is dropped for lack of room, and room is counted in bytes."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry.trace import Tracer

from pandaprobe_otel import PandaProbeSpanProcessor
from spans import CHAT, provider_with
from strict_pandaprobe import StrictPandaProbe
from waiting import PATIENCE_S

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


@pytest.mark.parametrize("masks", [False, True])
def test_texts_that_wait_for_a_busy_worker_are_bounded(tmp_path: Path, masks: bool) -> None:
    """Texts beyond the bound are cut and marked, or, if a mask forbids cutting, left out whole."""
    bound, size = 8 << 20, 3 << 20
    may_go_on = threading.Event()

    def choose(span: object) -> bool:
        return may_go_on.wait(PATIENCE_S)

    mask = {"mask": "secret"} if masks else {}
    path = tmp_path / "traces"
    processor = PandaProbeSpanProcessor(local=path, spans=choose, max_queue_bytes=bound, **mask)  # type: ignore[arg-type]
    with provider_with(processor) as tracer:
        for number in range(30):
            tracer.start_span(str(number), attributes={"input.value": f"{number:03}" + "x" * size}).end()
        may_go_on.set()
        processor.force_flush(60_000)
        status = processor.pipeline.status()
    texts = [str(span.get("input")) for line in path.read_text().splitlines() for span in json.loads(line)["spans"]]
    assert len(texts) + sum(status.spans_dropped.values()) == 30
    marked = [text for text in texts if not text.startswith(tuple("0123456789"))]
    assert bool(marked) is masks
    assert masks or not status.spans_dropped
