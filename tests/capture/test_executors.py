"""Executors that carry the submitter's context into their threads."""

from __future__ import annotations

import textwrap
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

import pandaprobe_otel as pp
from span_recorder import SpanRecorder
from subprocesses import environment, run_python


@pp.tool
def work(n: int) -> int:
    """Make a span in the current thread."""
    return n * 2


def test_map_runs_concurrently_in_the_same_context(recorder: SpanRecorder) -> None:
    """Several calls of one `map` run in the submitter's context at the same time."""
    barrier = threading.Barrier(3)

    def wait(n: int) -> int:
        barrier.wait(timeout=60)
        return work(n)

    with pp.context_executor(ThreadPoolExecutor(3)) as executor, pp.span("mapper"):
        assert list(executor.map(wait, range(3))) == [0, 2, 4]
    assert [recorder.parent_of(span) for span in recorder.spans if span.name == "work"] == ["mapper"] * 3


def test_shutdown_and_other_attributes_are_the_executors(recorder: SpanRecorder) -> None:
    """The wrapper shuts down the wrapped executor, and gives access to its attributes."""
    inner = ThreadPoolExecutor(3)
    executor = pp.context_executor(inner)
    assert executor._max_workers == 3  # type: ignore[attr-defined]
    executor.shutdown()
    assert inner._shutdown


def test_process_pool_works_without_context() -> None:
    """Tasks of a wrapped process pool run without the context, since contexts cannot be pickled."""
    with pp.context_executor(ProcessPoolExecutor(1, mp_context=get_context("spawn"))) as executor:
        assert executor.submit(abs, -2).result(timeout=60) == 2
        assert list(executor.map(abs, [-1, -2], chunksize=2)) == [1, 2]


CARRIED = """
import threading
from concurrent.futures import ThreadPoolExecutor
from opentelemetry import trace
import pandaprobe_otel
from pandaprobe_otel import agent
def here(n=0):
    return trace.get_current_span().get_span_context().trace_id
def in_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(here()))
    thread.start()
    thread.join()
    return found[0]
"""


@pytest.mark.parametrize(
    ("threads", "pools", "in_threads"),
    [(None, True, False), (True, True, False), ("all", True, True), (False, False, False)],
)
def test_init_carries_the_context_into_pools(tmp_path: Path, threads: object, pools: bool, in_threads: bool) -> None:
    """Tasks of `submit` and `map` belong to the trace of the caller, and outside of a trace to none."""
    code = f"""
    import inspect
    before = inspect.signature(ThreadPoolExecutor.submit)
    for _ in range(2):
        handle = pandaprobe_otel.init(instrument=False, threads={threads!r})
    with ThreadPoolExecutor(1) as pool:
        with agent("a"):
            mine = here()
            print([pool.submit(here).result() == mine, *[one == mine for one in pool.map(here, [1, 2])]])
            print(in_thread() == mine)
        print(pool.submit(here).result(), in_thread(), inspect.signature(ThreadPoolExecutor.submit) == before)
    handle.shutdown()
    """
    env = environment(PANDAPROBE_LOCAL=str(tmp_path / "t.jsonl"))
    result = run_python(CARRIED + textwrap.dedent(code), env, set_up=False)
    assert result.stdout == f"{[pools] * 3}\n{in_threads}\n0 0 True\n", result.stderr[-2000:]
