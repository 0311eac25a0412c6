"""The end of the interpreter, in real processes."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Final

import pytest

from pandaprobe_otel.delivery.budget import REQUEST_TIMEOUT_S
from spools import inherit
from strict_pandaprobe import Reply, StrictPandaProbe
from subprocesses import environment, run_python, run_quietly, timed_exit

WAITING: Final = 50
"""Traces that are not yet sent when the program ends."""
LONG_S: Final = 50.0
"""A shutdown timeout that is much longer than an exit that does not wait for it, even on a slow machine."""


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("import sys; sys.exit(3)", 3),
        ("raise ValueError('mine')", 1),
        ("import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()", 0),
    ],
    ids=["sys.exit", "exception", "daemon thread"],
)
def test_traces_are_delivered_at_the_end(ending: str, code: int) -> None:
    """However a program ends, its traces arrive, and its exit code and standard error are unchanged."""
    with StrictPandaProbe() as server:
        result = run_python(f"for n in range({WAITING}): one(f't{{n}}')\n{ending}", environment(server.url))
        posts = server.posts()

    assert result.returncode == code
    assert len(posts) == WAITING
    assert ("mine" in result.stderr) if "mine" in ending else (result.stderr == "")


@pytest.mark.parametrize("seconds", ["0.001", "0.2"])
def test_an_end_that_leaves_no_time_is_never_silent(seconds: str) -> None:
    """If the timeout is too short, the log has the number of undelivered spans, even of those that ended last."""
    with StrictPandaProbe() as server:
        env = environment(server.url, PANDAPROBE_SHUTDOWN_TIMEOUT=seconds)
        result = run_python("for n in range(5): one(f't{n}')", env)
        arrived = len(server.posts())

    assert result.returncode == 0
    assert arrived == 5 or "spans were not delivered" in result.stderr


def test_a_first_span_at_exit_is_delivered_without_a_new_thread() -> None:
    """Python 3.12 refuses new threads at exit, so the thread that ends the process sends the trace."""
    with StrictPandaProbe() as server:
        code = """
        import atexit, threading
        assert threading.active_count() == 1
        atexit.register(one, "last")
        """
        run_quietly(code, environment(server.url))
        assert [post.body["name"] for post in server.posts()] == ["last"]


def test_a_server_that_hangs_holds_the_exit_no_longer_than_the_timeout() -> None:
    """The exit waits for the shutdown timeout, not for the request's, and logs the lost spans once."""
    with StrictPandaProbe() as server:
        server.answer = lambda method, path: Reply(reset="silent")
        result, took = timed_exit("one('a')", environment(server.url, PANDAPROBE_SHUTDOWN_TIMEOUT="0.5"))

    assert result.returncode == 0
    assert took < REQUEST_TIMEOUT_S / 2
    assert result.stderr.count("2 spans were not delivered") == 1


def test_a_server_that_is_away_holds_the_exit_for_a_moment() -> None:
    """If no server listens, delivery is tried for a second and a half at exit, whatever the timeout."""
    with StrictPandaProbe() as server:
        url = server.url
    env = environment(url, PANDAPROBE_SHUTDOWN_TIMEOUT=str(LONG_S))
    result, took = timed_exit("for n in range(20): one(f't{n}')", env)

    assert result.returncode == 0
    assert took < LONG_S / 2
    assert result.stderr.count("40 spans were not delivered") == 1
    assert "PANDAPROBE_SHUTDOWN_TIMEOUT" not in result.stderr


def test_a_trace_whose_end_is_not_delivered_is_named() -> None:
    """A trace whose end was not delivered is logged, since PandaProbe shows it as RUNNING for ever."""
    with StrictPandaProbe() as server:
        server.answer = lambda method, path: Reply(status=503) if method == "PATCH" else None
        code = """
        from pandaprobe_otel.assembly.assembler import Timing
        root = tracer.start_span("long", attributes=CHAT)
        with trace.use_span(root):
            for n in range(Timing().checkpoint_spans):
                tracer.start_span("step", attributes=CHAT).end()
        while handle.status().spans_delivered < 500: pass
        root.end()
        """
        result = run_python(code, environment(server.url, PANDAPROBE_SHUTDOWN_TIMEOUT="2"))

    assert result.returncode == 0
    assert "1 traces stay RUNNING" in result.stderr


def test_an_open_root_at_the_end_is_sent_as_running() -> None:
    """An open root at exit is sent as RUNNING, not as COMPLETED."""
    with StrictPandaProbe() as server:
        code = """
        root = tracer.start_span("agent", attributes={"gen_ai.operation.name": "invoke_agent"})
        with tracer.start_as_current_span("chat", context=trace.set_span_in_context(root), attributes=CHAT):
            pass
        """
        result = run_python(code, environment(server.url))
        (post,) = server.posts()

    assert (result.returncode, result.stderr) == (0, "")
    assert post.body["status"] == "RUNNING"
    assert {span["name"] for span in post.body["spans"]} == {"agent", "chat"}


def test_ctrl_c_still_delivers() -> None:
    """After a KeyboardInterrupt the traces arrive, and the exit code is the same as without this library."""
    with StrictPandaProbe() as server:
        code = f"""
        import signal
        for n in range({WAITING}): one(f"t{{n}}")
        signal.raise_signal(signal.SIGINT)
        """
        result = run_python(code, environment(server.url))
        untraced = run_python("raise KeyboardInterrupt", environment(), set_up=False)

        assert "KeyboardInterrupt" in result.stderr
        assert result.returncode == untraced.returncode != 0
        assert len(server.posts()) == WAITING


FROM_OUTSIDE: Final = "signal.pthread_kill(threading.get_ident(), signal.SIGTERM)"
"""Statement that sends SIGTERM as another process would."""
TERMINATED = f"""
import signal, threading, time
assert handle.config.handle_sigterm or signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
for n in range({WAITING}): one(f"t{{n}}")
if handle.status().settings["spool"][0] != "None":
    while not handle.flush(0.0): time.sleep(0.01)  # until all of it is on disk
{FROM_OUTSIDE}
"""


def test_sigterm_that_is_handled_delivers() -> None:
    """With `handle_sigterm`, SIGTERM ends the process with the traces sent and the exit code of a shell."""
    with StrictPandaProbe() as server:
        result = run_python(TERMINATED, environment(server.url, PANDAPROBE_HANDLE_SIGTERM="true"))

        assert (result.returncode, result.stderr) == (128 + signal.SIGTERM, "")
        assert len(server.posts()) == WAITING


def test_sigterm_that_nobody_handles_leaves_everything_in_the_spool(tmp_path: Path) -> None:
    """Without a handler, SIGTERM ends the process at once, and another process sends the traces in the spool."""
    with StrictPandaProbe() as server:
        server.stop()
        result = run_python(TERMINATED, environment(server.url, PANDAPROBE_SPOOL_DIR=str(tmp_path)))
        server.start()

        assert result.returncode == -signal.SIGTERM
        assert inherit(server, tmp_path) == 2 * WAITING
        assert len(server.traces) == WAITING


@pytest.mark.parametrize(
    ("send", "number"),
    [("signal.raise_signal(number)", signal.SIGINT), ("os.kill(os.getpid(), number)", signal.SIGTERM)],
    ids=["raise", "kill"],
)
def test_a_process_that_ends_itself_by_a_signal_delivers_first(send: str, number: signal.Signals) -> None:
    """If a handler restores the default action and repeats the signal, the traces arrive, and the signal ends it."""
    code = f"""
    import os, signal, threading
    def end(number, frame):
        signal.signal(number, signal.SIG_DFL)
        {send}
    signal.signal({number:d}, end)
    for n in range({WAITING}): one(f"t{{n}}")
    signal.pthread_kill(threading.get_ident(), {number:d})
    """
    with StrictPandaProbe() as server:
        result = run_python(code, environment(server.url))

        assert (result.returncode, result.stderr) == (-number, "")
        assert len(server.posts()) == WAITING


def test_signals_to_others_and_handled_signals_are_sent_at_once() -> None:
    """Functions that send signals keep their results, errors and names."""
    code = """
    import os, pickle, signal, subprocess
    one("waits")
    assert pickle.loads(pickle.dumps(os.kill)) is os.kill
    assert pickle.loads(pickle.dumps(signal.raise_signal)) is signal.raise_signal
    seen = []
    signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    signal.raise_signal(signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), 0)
    child = subprocess.Popen(["sleep", "600"])
    os.kill(child.pid, signal.SIGTERM)
    assert child.wait() == -signal.SIGTERM and len(seen) == 2
    for wrong in (lambda: os.kill(os.getpid()), lambda: os.kill(), lambda: signal.raise_signal("TERM")):
        try:
            wrong()
        except TypeError:
            seen.append("TypeError")
    assert seen[2:] == ["TypeError"] * 3 and handle.status().spans_delivered == 0
    """
    with StrictPandaProbe() as server:
        run_quietly(code, environment(server.url))


@pytest.mark.parametrize(
    ("handler", "code"),
    [("signal.SIG_DFL", -signal.SIGTERM), ("lambda number, frame: print('handled')", 0)],
    ids=["default action", "handler of the app"],
)
def test_sigterm_during_the_last_delivery_waits_for_it(handler: str, code: int) -> None:
    """A process that is ending already sends its traces before SIGTERM takes effect."""
    program = f"""
    import os, signal
    import pandaprobe_otel
    before = {handler}
    sent = []
    def mask(text):  # called while traces are encoded
        if signal.getsignal(signal.SIGTERM) is not before and not sent:
            sent.append(True)
            os.kill(os.getpid(), signal.SIGTERM)
            assert signal.getsignal(signal.SIGTERM) is not before
        return text
    signal.signal(signal.SIGTERM, before)
    pandaprobe_otel.init(instrument=False, mask=mask)
    for n in range({WAITING}):
        with pandaprobe_otel.agent(f"t{{n}}"): pass
    """
    with StrictPandaProbe() as server:
        result = run_python(program, environment(server.url), set_up=False)

        assert (result.returncode, result.stderr) == (code, "")
        assert result.stdout == ("handled\n" if code == 0 else "")
        assert len(server.posts()) == WAITING


@pytest.mark.outer
def test_a_handler_that_ends_the_process_at_any_moment_never_hangs() -> None:
    """A signal strikes at a random moment of tracing, perhaps while a lock is held: the process ends by it, in time."""
    code = """
    import random, signal
    def end(number, frame):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)
    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, random.uniform(0.001, 0.5))
    while True:
        one("t")
        print("t", flush=True)
    """
    with StrictPandaProbe(limit=100_000) as server:
        for _ in range(20):
            result = run_python(code, environment(server.url, PANDAPROBE_SHUTDOWN_TIMEOUT="1"))
            assert result.returncode == -signal.SIGTERM, result.stderr
            assert "Traceback" not in result.stderr


def test_a_refused_key_does_not_hold_the_exit() -> None:
    """If the key is refused, the process ends without waiting for its timeout, and logs the remedy."""
    with StrictPandaProbe() as server:
        server.answer = lambda method, path: Reply(status=401, body={"detail": "Invalid or revoked API key."})
        # Longer than the minute after which a refused key is tried again.
        env = environment(server.url, PANDAPROBE_SHUTDOWN_TIMEOUT="200")
        result, took = timed_exit("for n in range(20): one(f't{n}')", env)

    assert result.returncode == 0
    assert took < 50
    assert "Invalid or revoked API key" in result.stderr
    assert "PANDAPROBE_SHUTDOWN_TIMEOUT" not in result.stderr
