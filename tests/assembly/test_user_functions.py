"""Functions of the app that run in our threads: whatever they raise, no content leaks and no thread ends."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pandaprobe_otel import PandaProbeSpanProcessor, llm
from pandaprobe_otel.process.guard import failures
from span_recorder import SpanRecorder
from span_recorder import recording as recording_spans
from spans import CHAT, provider_with
from strict_pandaprobe import StrictPandaProbe
from subprocesses import environment, run_python
from waiting import wait_until

SECRET = "s3cr3t"


class Odd(BaseException):
    """An exception outside `Exception`, which few handlers catch."""


def endless(value: object) -> Any:
    """Recurse without an end: CPython 3.13 does not limit recursion of functions with `*args`."""
    return endless(value)


def raising(kind: type[BaseException]) -> Any:
    """Return a function that raises this exception for any arguments."""
    if kind is RecursionError:
        return endless

    def function(*_: object) -> Any:
        raise kind(SECRET)

    return function


KINDS = [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, Odd, RecursionError, MemoryError]


def workers() -> list[threading.Thread]:
    """Return the threads that assemble traces."""
    return [thread for thread in threading.enumerate() if thread.name == "pandaprobe-worker"]


def sent(path: Path) -> list[dict[str, Any]]:
    """Return the traces in the file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("by", ["worker", "flush"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_that_raises_anything_fails_closed(
    kind: type[BaseException], by: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With a mask that raises, the trace is sent without texts, the worker goes on, and the failure is counted."""
    before = failures().get("mask", 0)
    running = set(workers())
    processor = PandaProbeSpanProcessor(local=tmp_path / "traces", mask=raising(kind))
    with provider_with(processor) as tracer:
        for _ in range(2):
            with tracer.start_as_current_span(SECRET, attributes={**CHAT, "pandaprobe.input": f'"{SECRET}"'}):
                pass
            if by == "worker":
                wait_until(
                    lambda: processor.pipeline.status().spans_delivered == processor.pipeline.status().spans_ended
                )
            assert processor.force_flush(60_000)
        # A thread that starts or ends is listed late.
        wait_until(lambda: [thread.is_alive() for thread in set(workers()) - running] == [True])
        processor.shutdown()
    traces = sent(tmp_path / "traces")
    assert [trace["name"] for trace in traces] == ["[masked: the mask failed]"] * 2
    assert SECRET not in json.dumps(traces) + caplog.text
    assert failures()["mask"] > before
    status = processor.pipeline.status()
    assert (status.spans_ended, status.spans_delivered) == (2, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_choice_of_spans_that_raises_anything_leaves_the_span_out(kind: type[BaseException], tmp_path: Path) -> None:
    """With a `spans` function that raises, the span is left out and counted, and the next trace is sent."""
    fails = [True]

    def choose(span: Any) -> Any:
        return raising(kind)() if fails else True

    processor = PandaProbeSpanProcessor(local=tmp_path / "traces", spans=choose)
    with provider_with(processor) as tracer:
        for name in (SECRET, "shown"):
            with tracer.start_as_current_span(name, attributes=CHAT):
                pass
            assert processor.force_flush(60_000)
            fails.clear()
        processor.shutdown()
    assert [trace["name"] for trace in sent(tmp_path / "traces")] == ["shown"]
    assert dict(processor.pipeline.status().spans_dropped) == {"filtered": 1}
    assert failures()["spans"] > 0


@pytest.fixture
def recorder() -> Iterator[SpanRecorder]:
    """Record the spans of the decorators."""
    with recording_spans() as recorder:
        yield recorder


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not KeyboardInterrupt])
def test_a_reduce_that_raises_anything_costs_the_output(kind: type[BaseException], recorder: SpanRecorder) -> None:
    """With a `reduce` that raises, the app gets the whole stream, and the output is a marker."""

    @llm(reduce=raising(kind))
    def stream() -> Iterator[str]:
        yield SECRET

    assert list(stream()) == [SECRET]
    assert recorder.output() == "[left out: reduce failed]"


def test_ctrl_c_in_reduce_is_the_apps(recorder: SpanRecorder) -> None:
    """A KeyboardInterrupt in `reduce`, which runs in the app's thread, reaches the app; the span ends as cancelled."""

    @llm(reduce=raising(KeyboardInterrupt))
    def stream() -> Iterator[str]:
        yield SECRET

    with pytest.raises(KeyboardInterrupt):
        list(stream())
    assert recorder.attributes()["pandaprobe.outcome"] == "cancelled"


# -- functions that make spans themselves ------------------------------------------------------------------------------


@pytest.mark.parametrize("flushes", [True, False], ids=["flush", "exit"])
def test_a_function_that_makes_spans_does_not_feed_itself(flushes: bool) -> None:
    """The app's traces arrive, the function's own spans are counted and left out, and one line says so."""
    code = f"""
    from pandaprobe_otel import agent, init, tool
    @tool
    def made(value): return value
    for callback in (
        {{"mask": lambda text: made(text)}},
        {{"spans": lambda span: made(True)}},
        {{"api_key": lambda: made("sk_pp_1")}},
    ):
        handle = init(instrument=False, **callback)
        for number in range(3):
            with agent(f"a{{number}}", input="Ada"):
                pass
            {"handle.flush()" if flushes else ""}
        handle.shutdown()
        status = handle.status()
        left_out = dict(status.spans_dropped)
        dropped = left_out.pop("made_by_callback")
        print(status.spans_ended - dropped, status.spans_delivered, left_out, 0 < dropped < 200)
    """
    with StrictPandaProbe() as server:
        result = run_python(code, environment(server.url), set_up=False)
        assert result.stdout == "3 3 {} True\n" * 3, result.stderr[-2000:]
        assert sorted(trace.fields["name"] for trace in server.traces.values()) == sorted(["a0", "a1", "a2"] * 3)
    assert result.stderr.count("makes spans itself") == 1
