"""Apps on one thread, with asyncio and gevent: the library never blocks the loop and loses no span."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from strict_pandaprobe import Reply, StrictPandaProbe
from subprocesses import environment, run_python, run_quietly

SUMS_OF_ONE_CALL = 4.0
"""The bound of five milliseconds, as a multiple of the time for a sum of 100,000 numbers, which takes 1.2 ms."""


def test_tasks_that_are_cancelled_and_loops_that_are_closed_lose_nothing() -> None:
    """No span is lost if half of 1000 tasks and a flush are cancelled; a flush in a new loop sends all."""
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
            flush = asyncio.create_task(pandaprobe_otel.aflush(60))
            await asyncio.sleep(0)
            flush.cancel()
        asyncio.run(main())
        assert asyncio.run(pandaprobe_otel.aflush(60))
        status = handle.status()
        assert (status.spans_ended, status.spans_delivered, status.traces_delivered) == (1020, 1020, 20), status
        """
        run_quietly(code, environment(server.url))
        assert [len(trace.spans) for trace in server.traces.values()] == [51] * 20


def test_the_loop_goes_on_while_a_flush_waits_for_the_server() -> None:
    """The loop runs during a flush: the server answers the flush only after another request from the loop."""
    goes_on = threading.Event()

    def waits(connection: socket.socket) -> None:
        assert goes_on.wait(60)
        connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}")

    def answer(method: str, path: str) -> Reply:
        if path == "/traces":
            return Reply(wire=waits, carried_out=True)
        if path == "/go-on":  # the client may also ask whether this is a local server
            goes_on.set()
        return Reply(status=204)

    with StrictPandaProbe() as server:
        server.answer = answer
        code = """
        import asyncio, http.client
        from urllib.parse import urlsplit
        async def main():
            one("a")
            flush = asyncio.create_task(pandaprobe_otel.aflush(60))
            for _ in range(100):
                await asyncio.sleep(0.001)
            assert not flush.done()
            connection = http.client.HTTPConnection(urlsplit(handle.status().endpoint).netloc)
            connection.request("POST", "/go-on")
            connection.getresponse().read()
            connection.close()
            assert await flush
        asyncio.run(main())
        """
        run_quietly(code, environment(server.url))
        assert len(server.traces) == 1


def test_no_call_of_ours_holds_the_loop_for_five_milliseconds() -> None:
    """With a thousand tasks and an unreachable server, no call takes 5 ms of CPU in the loop's thread.

    The bound is a multiple of the time for a sum on the same machine. The longest call counts of that run of three in
    which it was shortest: a busy machine, or a collection of garbage, only ever adds time.
    """
    with StrictPandaProbe() as server:
        nobody = server.url
    code = """
    import asyncio, time
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from pandaprobe_otel import PandaProbeSpanProcessor
    ours, calls = PandaProbeSpanProcessor(), []
    class Timed(SpanProcessor):
        def on_start(self, span, parent_context=None):
            begun = time.thread_time_ns()
            ours.on_start(span, parent_context)
            calls.append(time.thread_time_ns() - begun)
        def on_end(self, span):
            begun = time.thread_time_ns()
            ours.on_end(span)
            calls.append(time.thread_time_ns() - begun)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Timed())
    tracer = provider.get_tracer("test")
    async def work(number):
        with tracer.start_as_current_span(f"agent {number}", attributes={"gen_ai.operation.name": "invoke_agent"}):
            await asyncio.sleep(0)
            chat = {"gen_ai.operation.name": "chat", "gen_ai.input.messages": "x" * 1000}
            with tracer.start_as_current_span("chat", attributes=chat):
                await asyncio.sleep(0)
    async def main():
        await asyncio.gather(*(work(number) for number in range(1000)))
    def longest():
        calls.clear()
        asyncio.run(main())
        assert len(calls) == 4000
        return max(calls)
    def a_sum():
        begun = time.thread_time_ns()
        sum(range(100_000))  # a millisecond or so
        return time.thread_time_ns() - begun
    print(min(longest() for _ in range(3)) / min(a_sum() for _ in range(20)))
    ours.shutdown()
    """
    result = run_python(code, environment(nobody, PANDAPROBE_SHUTDOWN_TIMEOUT="0"), set_up=False)

    assert result.returncode == 0, result.stderr
    assert float(result.stdout) <= SUMS_OF_ONE_CALL


@pytest.mark.outer
def test_greenlets_of_gevent_lose_nothing_and_go_on_meanwhile() -> None:
    """With threads patched and half of the greenlets killed in a span, no span is lost; a flush lets others run."""
    code = """
    import warnings
    warnings.simplefilter("default")  # of gevent's own
    from gevent import monkey
    monkey.patch_all()
    import gevent
    warnings.simplefilter("error")
    import pandaprobe_otel
    from opentelemetry import trace
    handle = pandaprobe_otel.init(instrument=False)
    tracer = trace.get_tracer("test")
    begun = []
    def work(number):
        with tracer.start_as_current_span("agent", attributes={"gen_ai.operation.name": "invoke_agent"}):
            with tracer.start_as_current_span("chat", attributes={"gen_ai.operation.name": "chat"}):
                begun.append(number)
                gevent.sleep(3600 if number % 2 else 0)
    jobs = [gevent.spawn(work, number) for number in range(50)]
    while len(begun) < 50:
        gevent.sleep(0.001)
    gevent.killall(jobs[1::2])
    gevent.joinall(jobs)
    ticks = []
    def tick():
        while True:
            ticks.append(None)
            gevent.sleep(0.001)
    ticking = gevent.spawn(tick)
    assert handle.flush(60)
    assert len(ticks) > 1
    ticking.kill()
    status = handle.status()
    assert (status.spans_ended, status.spans_delivered, status.traces_delivered) == (100, 100, 50), status
    """
    with StrictPandaProbe(delay=lambda: 0.02) as server:
        result = run_python(code, environment(server.url), set_up=False)

        assert result.returncode == 0, result.stderr
        assert sorted(len(trace.spans) for trace in server.traces.values()) == [2] * 50


@pytest.mark.outer
@pytest.mark.parametrize("spooled", [False, True])
def test_a_worker_that_gevent_patches_after_its_fork_goes_on(spooled: bool, tmp_path: Path) -> None:
    """Locks held by the parent's threads do not block a forked worker, as with gunicorn --preload."""
    code = """
    import os, signal, warnings
    import pandaprobe_otel
    from opentelemetry import trace
    handle = pandaprobe_otel.init(instrument=False)
    tracer = trace.get_tracer("test")
    if os.fork():
        _, status = os.wait()
        raise SystemExit(os.waitstatus_to_exitcode(status))
    signal.alarm(50)  # a greenlet that waits for a lock of the parent's threads would do so for ever
    warnings.simplefilter("ignore")  # of gevent's own
    from gevent import monkey
    monkey.patch_all()
    import gevent
    warnings.simplefilter("error")
    def work():
        with tracer.start_as_current_span("agent", attributes={"gen_ai.operation.name": "invoke_agent"}):
            gevent.sleep(0.01)
    gevent.joinall([gevent.spawn(work) for _ in range(5)])
    assert handle.flush(60)
    gevent.sleep(0.01)
    status = handle.status()
    assert (status.spans_ended, status.spans_delivered + status.spans_pending) == (5, 5), status
    """
    variables = {"PANDAPROBE_SPOOL_DIR": str(tmp_path / "spool")} if spooled else {}
    with StrictPandaProbe() as server:
        result = run_python(code, environment(server.url, **variables), set_up=False)
        posts = server.posts()

    assert result.returncode == 0, result.stderr
    assert len(posts) == 5
