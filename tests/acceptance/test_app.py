"""Effects on the app: many threads and tasks, freezes, instrumentation, exit."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pandaprobe_otel import PandaProbeSpanProcessor
from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.pipeline.export_pipeline import ExportPipeline
from pandaprobe_otel.transport.http import HttpTransport
from pandaprobe_otel.transport.socket_transport import delivery_transport
from spans import CHAT
from spools import inherit
from strict_pandaprobe import Reply, StrictPandaProbe
from subprocesses import SET_UP, environment
from traced_app import traced_app
from waiting import wait_until

INSTRUMENTORS: Final = {
    "httpx": "HTTPXClientInstrumentor",
    "logging": "LoggingInstrumentor",
    "requests": "RequestsInstrumentor",
    "sqlite3": "SQLite3Instrumentor",
    "urllib3": "URLLib3Instrumentor",
}
"""OpenTelemetry's instrumentors of the modules that this library might call: module to class."""
INSTALLED: Final = [name for name in INSTRUMENTORS if find_spec(f"opentelemetry.instrumentation.{name}") is not None]
THREADS, SPANS_EACH = 50, 200
BOUND = 4 << 20
LONG_S = 14.0
"""A shutdown timeout that is too short for a second request with a key whose limit is used up."""
FROZEN_S = float(os.environ.get("PANDAPROBE_FROZEN_S", "0"))
"""Seconds for which the handler's process is stopped between two calls; 600 stops it for ten minutes."""


def memory_mb() -> float:
    """Return the resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_fifty_threads_without_a_server_stay_within_the_bound_to_the_span() -> None:
    """Every span is counted, most are dropped for lack of room, and memory stays within its bound."""
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
        wait_until(lambda: app.status().spans_ended == THREADS * SPANS_EACH)
        grown = memory_mb() - before
        status = app.status()

        assert status.spans_dropped.keys() == {"queue_full"}
        assert status.spans_pending > 0
        assert app.is_balanced
        assert grown <= (BOUND >> 20) + 50
    wait_until(lambda: app.status().spans_pending == 0)  # the worker may not have finished yet
    assert app.is_balanced


@contextmanager
def all_instrumented(provider: TracerProvider) -> Iterator[None]:
    """Instrument the modules that this library might call, as `opentelemetry-instrument` does."""
    with ExitStack() as stack:
        for name in INSTALLED:
            module: Any = import_module(f"opentelemetry.instrumentation.{name}")
            instrumentor = getattr(module, INSTRUMENTORS[name])()
            instrumentor.instrument(tracer_provider=provider)
            stack.callback(instrumentor.uninstrument)
        yield


@pytest.mark.parametrize("is_direct", [True, False], ids=["socket", "httpx"])
def test_our_own_requests_files_and_log_lines_make_no_spans(
    is_direct: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The library's work makes no span, although HTTP clients, SQLite and logging are instrumented.

    The first requests fail, so that the retries and the log lines are included.
    """
    seen = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(seen))
    with StrictPandaProbe() as server, all_instrumented(provider):
        server.script.append(Reply(status=503))
        settings = {"api_key": "k", "endpoint": server.url, "spans": "all", "spool": str(tmp_path / "spool")}
        transport = delivery_transport(server.url, {}) if is_direct else HttpTransport(server.url, {})
        pipeline = ExportPipeline(Config.resolve(settings, environ={}), counts_starts=True, transport=transport)
        provider.add_span_processor(PandaProbeSpanProcessor(pipeline=pipeline))
        for _ in range(2):
            with provider.get_tracer("test").start_as_current_span("mine", attributes=CHAT):
                pass
            assert provider.force_flush(60_000)
        pipeline.shutdown(20)
        ours = [span.name for span in seen.get_finished_spans()]
        seen.clear()
        httpx.get(f"{server.url}/traces/x", timeout=10)  # the app's own calls make spans
        with closing(sqlite3.connect(":memory:")) as database:
            database.cursor().execute("select 1")
        theirs = [span.name for span in seen.get_finished_spans()]
        provider.shutdown()

        assert ours == ["mine", "mine"]
        assert theirs == ["GET", *(["select"] if "sqlite3" in INSTALLED else [])]
        assert len(server.posts()) == 3
        assert len(server.traces) == 2
    assert "fails at" in caplog.text


def test_a_key_that_is_limited_ends_the_process_at_once_with_one_count(caplog: pytest.LogCaptureFixture) -> None:
    """If the limit is used up until after the shutdown deadline, the process ends without waiting for the limit."""
    with StrictPandaProbe(limit=1) as server, traced_app(server.url, shutdown_timeout_s=LONG_S) as app:
        app.trace("first")
        assert app.flush()
        for _ in range(7):
            app.trace("late")
        begun = time.monotonic()
        assert not app.pipeline.shutdown()
        took = time.monotonic() - begun
        assert app.pipeline.shutdown()
        app.trace("after")

        assert took < LONG_S / 2
        status = app.status()
        assert status.spans_dropped == {"shutdown": 7, "after_shutdown": 1}
        assert (status.spans_delivered, status.spans_pending) == (1, 0)
    lost = [record.message for record in caplog.records if "not delivered" in record.message]
    assert len(lost) == 1
    assert "7 spans were not delivered" in lost[0]


HANDLER = f"""{SET_UP}
import sys
@pandaprobe_otel.flush_on_return(timeout=50.0)
@pandaprobe_otel.agent
def handler(event, context):
    return event
class Context:
    def get_remaining_time_in_millis(self): return int(line)
for line in sys.stdin:
    handler(line, Context())
    status = handle.status()
    print(status.spans_delivered, status.answers.get("delivered", 0), flush=True)
"""


def test_a_process_that_is_frozen_between_calls_has_sent_what_it_traced(tmp_path: Path) -> None:
    """After a freeze the process uses its stale connection; killed in a freeze, it leaves its traces on disk."""
    with StrictPandaProbe() as server:
        env = environment(server.url, PANDAPROBE_SPOOL_DIR=str(tmp_path))
        with subprocess.Popen(
            [sys.executable, "-c", HANDLER], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None

            def call(milliseconds: int = 60_000) -> tuple[int, int]:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(f"{milliseconds}\n")
                process.stdin.flush()
                delivered, answers = process.stdout.readline().split()
                return int(delivered), int(answers)

            assert call() == (1, 1)
            process.send_signal(signal.SIGSTOP)
            time.sleep(FROZEN_S)
            server.stop()
            server.start()
            process.send_signal(signal.SIGCONT)
            assert call() == (2, 2)  # no look-up, and no second POST
            server.answer = lambda method, path: Reply(status=401)  # until the next probe, in a minute
            assert call(500)[0] == 2
            process.send_signal(signal.SIGSTOP)
            process.kill()
        server.answer = lambda method, path: None

        assert inherit(server, tmp_path) == 1
        assert len(server.accepted_at) == len(server.traces) == 3
