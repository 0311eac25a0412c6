"""Streams that are open when the process ends or forks, or when the garbage collector runs at a bad moment."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from opentelemetry.sdk.trace import SpanProcessor

from openai_traffic import MODEL, QUESTION, chat_chunks
from pandaprobe_otel_integrations._streams import open_bodies
from pandaprobe_otel_integrations._streams.body import BodyRecord, ObservedBody
from pandaprobe_otel_integrations.openai import OpenAIInstrumentor
from provider_server import ProviderServer, events_reply
from span_recorder import SpanRecorder

MESSAGES: Any = [{"role": "user", "content": QUESTION}]

PREAMBLE = """
import os, sys, weakref
class Kept: pass
weakref.finalize(Kept(), int)  # the standard library's exit hook is set before ours
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
class Printer(SpanExporter):
    def export(self, spans):
        for span in spans:
            print(os.getpid() == MAIN, span.attributes.get("gen_ai.response.id"), flush=True)
        return SpanExportResult.SUCCESS
MAIN = os.getpid()
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(Printer()))
trace.set_tracer_provider(provider)
from pandaprobe_otel.registry import instrument
instrument("openai")
import openai
client = openai.OpenAI(base_url=sys.argv[1], api_key="none")
stream = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True)
next(stream)
"""
IN_A_FORK = """
if os.fork() == 0:
    from pandaprobe_otel_integrations._streams import open_bodies
    assert open_bodies.open_count() == 0
    sys.exit(0)
os.wait()
"""


def test_open_stream_at_the_end_of_the_process(server: ProviderServer) -> None:
    """A stream open at the end of a process and of its child is exported once, before the provider shuts down."""
    server.replies(events_reply(chat_chunks(), pause_s=0.01))
    script = PREAMBLE + IN_A_FORK
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", script, f"{server.url}/v1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert (done.stdout.splitlines(), done.stderr, done.returncode) == (["True chatcmpl-1"], "", 0)


@pytest.fixture
def client(server: ProviderServer, recorder: SpanRecorder) -> Iterator[openai.OpenAI]:
    """Yield an instrumented client of the scripted provider."""
    server.replies(events_reply(chat_chunks()))
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=recorder.provider)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as made:
        yield made
    instrumentor.uninstrument()


class _Locking(SpanProcessor):
    """A processor with a lock that is not reentrant, under which garbage collection may run, as in many processors."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.ended: list[str] = []

    def on_end(self, span: Any) -> None:
        with self.lock:
            self.ended.append(span.name)
            gc.collect()


def test_stream_forgotten_while_a_processor_holds_its_lock(client: openai.OpenAI, recorder: SpanRecorder) -> None:
    """A dropped stream that the collector finds during another span's `on_end` ends its span without a deadlock."""
    processor = _Locking()
    recorder.provider.add_span_processor(processor)
    gc.disable()
    try:
        next(client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True))
        recorder.tracer.start_span("other").end()
    finally:
        gc.enable()
    deadline = time.monotonic() + 60
    while len(processor.ended) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert processor.ended == ["other", f"chat {MODEL}"]


def test_many_forgotten_streams_leave_nothing(client: openai.OpenAI, recorder: SpanRecorder) -> None:
    """The spans of many dropped streams end, and no stream is kept."""
    for _ in range(50):
        next(client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True))
        gc.collect()
    assert open_bodies.open_count() == 0
    assert len(recorder.spans) == 50


def test_body_ends_once() -> None:
    """A body that many threads end at the same time ends once."""
    ends: list[BodyRecord] = []
    for _ in range(50):
        body = ObservedBody(ends.append)
        start = threading.Barrier(4)

        def end(body: ObservedBody = body, start: threading.Barrier = start) -> None:
            start.wait()
            body.end("closed")

        threads = [threading.Thread(target=end) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(ends) == 50


def test_body_over_the_bound_is_not_kept() -> None:
    """A body of any length reaches the app, but only a bounded part is kept."""
    ends: list[BodyRecord] = []
    body = ObservedBody(ends.append)
    piece = bytes(1 << 20)
    for _ in range(40):
        body.keep(piece)
    body.end("read")
    assert sum(len(chunk) for chunk in ends[0].chunks) <= 18 << 20
    assert len(ends[0].times_ns) == 40


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_stream_read_in_a_forked_child_only_counts_in_the_parent(client: openai.OpenAI, recorder: SpanRecorder) -> None:
    """A stream that is open at a fork is reported by the parent, not by the child that reads it."""
    stream = client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
    next(stream)
    child = os.fork()
    if child == 0:
        del stream
        gc.collect()
        os._exit(len(recorder.spans))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    list(stream)
    assert len(recorder.spans) == 1
