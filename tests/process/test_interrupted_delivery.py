"""Ctrl-C at any moment of `flush`, `shutdown`, `score`, `status` and of the first span costs no trace and no thread."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from opentelemetry.sdk.trace import TracerProvider

from interrupter import Interrupter
from pandaprobe_otel.bootstrap import PandaProbe
from pandaprobe_otel.sdk.processor import PandaProbeSpanProcessor
from rings import IN_FULL
from strict_pandaprobe import StrictPandaProbe
from subprocesses import environment, run_python

PATIENCE_S = 30.0
_NEVER = 1_000_000


class App:
    """An app with one pipeline, which makes traces of two spans."""

    def __init__(self, server: StrictPandaProbe) -> None:
        self.processor = PandaProbeSpanProcessor(api_key="k", endpoint=server.url, spans="all")
        self.handle = PandaProbe(self.processor.pipeline, self.processor.pipeline.config)
        self.tracer = TracerProvider(shutdown_on_exit=False)
        self.tracer.add_span_processor(self.processor)
        self.trace_ids: list[str] = []

    def trace(self) -> None:
        """Make a trace."""
        tracer = self.tracer.get_tracer("app")
        with tracer.start_as_current_span("root") as root, tracer.start_as_current_span("child"):
            pass
        self.trace_ids.append(str(UUID(int=root.get_span_context().trace_id)))


def flush(app: App) -> None:
    """Flush."""
    app.handle.flush(PATIENCE_S)


def shut_down(app: App) -> None:
    """Shut down."""
    app.handle.shutdown(PATIENCE_S)


def score(app: App) -> None:
    """Give a score."""
    app.handle.score(app.trace_ids[0], "quality", 1.0)


def status(app: App) -> None:
    """Read the counts."""
    app.handle.status()


def interrupted(app: App, use: Callable[[App], None], moment: int) -> bool:
    """Use the library with an interrupt at this moment; return False if it is over before."""
    profiler = Interrupter(moment)
    is_raised = False
    sys.setprofile(profiler)
    try:
        use(app)
    except KeyboardInterrupt:
        is_raised = True
    finally:
        sys.setprofile(None)
    assert is_raised == profiler.has_struck, "the interrupt did not reach the app"
    return profiler.has_struck


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=IN_FULL)])
@pytest.mark.parametrize("use", [flush, shut_down, score, status])
def test_an_interrupt_at_any_moment_loses_and_repeats_nothing(use: Callable[[App], None], step: int) -> None:
    """All traces that have ended arrive once, the counts agree at any time, and the next calls do not wait."""
    for moment in itertools.chain([_NEVER], itertools.count(0, step)):  # first without, so that all is loaded
        with StrictPandaProbe() as server:
            app = App(server)
            app.trace()
            has_struck = interrupted(app, use, moment)
            began = time.monotonic()
            if use is not shut_down:
                app.trace()
                assert app.handle.flush(PATIENCE_S)
            app.handle.shutdown(PATIENCE_S)
            counts = app.handle.status()

            assert time.monotonic() - began < PATIENCE_S / 2
            assert sorted(post.body["trace_id"] for post in server.posts()) == sorted(app.trace_ids)
            spans = 2 * len(app.trace_ids)
            assert (counts.spans_ended, counts.spans_delivered, counts.spans_pending) == (spans, spans, 0)
            assert counts.spans_dropped == {}
        if not has_struck and moment != _NEVER:
            break
    assert moment > step


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=IN_FULL)])
def test_an_interrupt_of_the_first_span_does_not_keep_the_next_from_arriving(step: int) -> None:
    """The first span starts the threads. Whatever was interrupted, the next trace is delivered."""
    for moment in itertools.count(0, step):
        with StrictPandaProbe() as server:
            app = App(server)
            has_struck = interrupted(app, App.trace, moment)
            app.trace()
            assert app.handle.flush(PATIENCE_S)
            counts = app.handle.status()
            app.handle.shutdown(PATIENCE_S)

            arrived = [post.body["trace_id"] for post in server.posts()]
            assert [arrived.count(trace_id) for trace_id in app.trace_ids] == [1] * len(app.trace_ids)
            assert counts.spans_ended == counts.spans_delivered + counts.spans_pending
            assert counts.spans_dropped == {}
        if not has_struck:
            break
    assert moment > step


FIRST_USE = """
import os, sys
import pandaprobe_otel
from pandaprobe_otel import agent, bootstrap, flush, status
from pandaprobe_otel.pipeline import export_pipeline

MOMENTS = [
    ("call", "begin_from_environment"), ("return", "resolve"), ("return", "watch_process"), ("return", "open_pipeline"),
    ("return", "set_tracer_provider"), ("call", "add_span_processor"), ("return", "add_span_processor"),
    ("return", "_lead_logs"), ("call", "_instrument"), ("return", "_init"), ("call", "start_thread"),
]

def interrupted_child(event, name):
    struck = []

    def strike(frame, its_event, _):
        if its_event == event and frame.f_code.co_name == name and not struck:
            struck.append(frame)
            sys.setprofile(None)
            raise KeyboardInterrupt

    def trace(name):
        with agent(name):
            pass

    sys.setprofile(strike)
    try:
        trace("first")
    except KeyboardInterrupt:
        struck.append("reached")
    sys.setprofile(None)
    trace("last")
    is_delivered = flush(30)
    counts = status()
    is_right = counts.spans_ended in (1, 2) and counts.spans_delivered == counts.spans_ended
    print(event, name, "right" if len(struck) == 2 and is_delivered and is_right else f"wrong: {struck} {counts}")
    sys.stdout.flush()

for moment in MOMENTS:
    child = os.fork()
    if not child:
        interrupted_child(*moment)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_an_interrupt_of_the_start_from_the_environment_does_not_prevent_it(tmp_path: Path) -> None:
    """After Ctrl-C during the first use, the next use starts the tracing, and its traces arrive."""
    env = environment(PANDAPROBE_LOCAL=str(tmp_path / "traces.jsonl"), PANDAPROBE_INSTRUMENT="false")
    done = run_python(FIRST_USE, env, set_up=False, fresh=True)

    assert [line for line in done.stdout.splitlines() if not line.endswith(" right")] == [], done.stderr
    assert done.stdout.count(" right") == 11
