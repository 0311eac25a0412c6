"""What the app must not notice: threads and tasks in any number, freezes, its own instrumentation, the end."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.logging import LoggingInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pandaprobe_otel import PandaProbeSpanProcessor
from pandaprobe_otel.config import Config
from pandaprobe_otel.pipeline import ExportPipeline
from pandaprobe_otel.transport import HttpTransport
from spans import CHAT
from spools import inherit
from strict_pandaprobe import Reply, StrictPandaProbe
from subprocesses import SET_UP, environment, run_python
from traced_app import traced_app

THREADS, SPANS_EACH = 50, 200
BOUND = 4 << 20


def memory_mb() -> float:
    """Of this process, resident."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_fifty_threads_without_a_server_stay_within_the_bound_to_the_span() -> None:
    """Every span is counted, most are dropped for want of room, and the memory is the bound's.

    A million spans, with the time that each costs, in benchmarks/delivery/bench_threads.py.
    """
    with StrictPandaProbe() as server:
        nobody = server.url
    before = memory_mb()
    with traced_app(nobody, shutdown_timeout_s=0, max_queue_bytes=BOUND) as app:

        def emit() -> None:
            for _ in range(SPANS_EACH):
                app.trace("chat", **{"gen_ai.input.messages": "x" * 2_000})

        threads = [threading.Thread(target=emit) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        end = time.monotonic() + 30
        while app.status().spans_ended < THREADS * SPANS_EACH and time.monotonic() < end:
            time.sleep(0.05)
        grown = memory_mb() - before
        status = app.status()

        assert status.spans_ended == THREADS * SPANS_EACH
        assert status.spans_dropped.keys() == {"queue_full"}
        assert status.spans_pending > 0
        assert app.is_balanced
        assert grown <= (BOUND >> 20) + 50
    end = time.monotonic() + 30
    while app.status().spans_pending and time.monotonic() < end:  # the worker had no time to finish
        time.sleep(0.05)
    assert app.status().spans_pending == 0
    assert app.is_balanced


def test_tasks_that_are_cancelled_and_loops_that_are_closed_lose_nothing() -> None:
    """1000 tasks, half of them cancelled within their span; a flush cancelled with its loop; then another loop."""
    with StrictPandaProbe() as server:
        code = """
        import asyncio
        async def work(started):
            with tracer.start_as_current_span("chat", attributes=CHAT):
                started.release()
                await asyncio.sleep(3600 if started.number % 2 else 0)
        class Started(asyncio.Semaphore):
            number = 0
        async def main():
            tasks = []
            for trace_number in range(20):
                with tracer.start_as_current_span("agent", attributes={"gen_ai.operation.name": "invoke_agent"}):
                    for number in range(50):
                        started = Started(0)
                        started.number = number
                        tasks.append(asyncio.create_task(work(started)))
                        await started.acquire()
                    await asyncio.sleep(0)
                    for number, task in enumerate(tasks[-50:]):
                        if number % 2: task.cancel()
                    await asyncio.gather(*tasks[-50:], return_exceptions=True)
            assert sum(task.cancelled() for task in tasks) == 500
            flush = asyncio.create_task(pandaprobe_otel.aflush(20))
            await asyncio.sleep(0)
            flush.cancel()
        asyncio.run(main())
        assert asyncio.run(pandaprobe_otel.aflush(20))
        status = handle.status()
        assert (status.spans_ended, status.spans_delivered, status.traces_delivered) == (1020, 1020, 20), status
        """
        result = run_python(code, environment(server.url))

        assert (result.returncode, result.stderr) == (0, "")
        assert [len(trace.spans) for trace in server.traces.values()] == [51] * 20


def test_our_own_requests_and_log_lines_make_no_spans(caplog: pytest.LogCaptureFixture) -> None:
    """httpx and logging instrumented by OpenTelemetry itself, every span wanted, and requests that fail at first."""
    seen = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(seen))
    with StrictPandaProbe() as server:
        server.script.append(Reply(status=503))
        config = Config.resolve({"api_key": "k", "endpoint": server.url, "spans": "all"}, environ={})
        pipeline = ExportPipeline(config, counts_starts=True, transport=HttpTransport(server.url, {}))
        provider.add_span_processor(PandaProbeSpanProcessor(pipeline=pipeline))
        httpx_instrumentor, logging_instrumentor = HTTPXClientInstrumentor(), LoggingInstrumentor()
        httpx_instrumentor.instrument(tracer_provider=provider)
        logging_instrumentor.instrument(tracer_provider=provider)
        try:
            with provider.get_tracer("test").start_as_current_span("mine", attributes=CHAT):
                pass
            assert provider.force_flush(20_000)
            with provider.get_tracer("test").start_as_current_span("mine", attributes=CHAT):
                pass
            assert provider.force_flush(20_000)
        finally:
            logging_instrumentor.uninstrument()
            httpx_instrumentor.uninstrument()
            provider.shutdown()

        assert [span.name for span in seen.get_finished_spans()] == ["mine", "mine"]
        assert len(server.posts()) == 3
        assert len(server.traces) == 2
    assert "cannot be reached" in caplog.text


def test_a_key_that_is_limited_ends_the_process_at_once_with_one_count(caplog: pytest.LogCaptureFixture) -> None:
    """Somebody else has used the window up: nothing can go before the deadline, so nothing is waited for."""
    with StrictPandaProbe(limit=1) as server, traced_app(server.url, shutdown_timeout_s=5.0) as app:
        app.trace("first")
        assert app.flush(10)
        for _ in range(7):
            app.trace("late")
        begun = time.monotonic()
        assert not app.pipeline.shutdown()
        took = time.monotonic() - begun
        assert app.pipeline.shutdown()
        app.trace("after")

        assert took < 2.0
        status = app.status()
        assert status.spans_dropped == {"shutdown": 7, "after_shutdown": 1}
        assert (status.spans_delivered, status.spans_pending) == (1, 0)
    lost = [record.message for record in caplog.records if "not delivered" in record.message]
    assert len(lost) == 1
    assert "7 spans were not delivered" in lost[0]


HANDLER = f"""{SET_UP}
import sys, time
@pandaprobe_otel.flush_on_return(timeout=2.0)
@pandaprobe_otel.agent
def handler(event):
    return event
for line in sys.stdin:
    begun = time.monotonic()
    handler(line)
    status = handle.status()
    print(status.spans_delivered, status.answers.get("delivered", 0), time.monotonic() - begun, flush=True)
"""


def test_a_process_that_is_frozen_between_calls_has_sent_what_it_traced(tmp_path: Path) -> None:
    """Frozen, its connection stale when it goes on; then killed in the freeze, with what could not be sent on disk."""
    with StrictPandaProbe() as server:
        env = environment(server.url, PANDAPROBE_SPOOL_DIR=str(tmp_path))
        with subprocess.Popen(
            [sys.executable, "-c", HANDLER], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None

            def call() -> tuple[int, int, float]:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write("event\n")
                process.stdin.flush()
                delivered, answers, took = process.stdout.readline().split()
                return int(delivered), int(answers), float(took)

            assert call()[:2] == (1, 1)
            process.send_signal(signal.SIGSTOP)
            server.start(server.stop())
            process.send_signal(signal.SIGCONT)
            delivered, answers, took = call()
            assert (delivered, answers) == (2, 2)  # no look at a trace in doubt, no second post
            assert took < 2.0 + 0.5
            server.answer = lambda method, path: Reply(status=503)
            assert call()[0] == 2
            process.send_signal(signal.SIGSTOP)
            process.kill()
        server.answer = lambda method, path: None

        assert inherit(server, tmp_path) == 1
        assert len(server.accepted_at) == len(server.traces) == 3


def test_a_wall_clock_that_jumps_is_not_noticed(tmp_path: Path) -> None:
    """An hour back, then a day ahead, while traces are sent and kept on disk: nothing waits, nothing is lost."""
    with StrictPandaProbe() as server:
        code = """
        import time
        real, shift = time.time, 0.0
        time.time = lambda: real() + shift
        time.time_ns = lambda: int(time.time() * 1e9)
        for shift in (0.0, -3600.0, 86400.0):
            one(f"at {shift}")
            begun = time.monotonic()
            assert handle.flush(10)
            while handle.status().spans_pending: time.sleep(0.01)
            assert time.monotonic() - begun < 5
        assert handle.status().spans_delivered == 6
        """
        result = run_python(code, environment(server.url, PANDAPROBE_SPOOL_DIR=str(tmp_path)))

        assert (result.returncode, result.stderr) == (0, "")
        assert [post.status for post in server.posts()] == [202, 202, 202]


def test_notices_are_logged_once_a_minute_however_often_a_cause_comes_and_goes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Every second request fails: one line, since each of them is tried again with success."""
    with StrictPandaProbe() as server, traced_app(server.url) as app:
        answers = iter([503, None] * 2)

        def every_second(method: str, path: str) -> Reply | None:
            status = next(answers, None)
            return None if status is None else Reply(status=status)

        server.answer = every_second
        for _ in range(2):
            app.trace("a")
            assert app.flush(20)

        assert len(server.traces) == 2
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
