"""The end of the interpreter, in real processes."""

from __future__ import annotations

import time
from typing import Final

import pytest

from strict_pandaprobe import Reply, StrictPandaProbe
from subprocesses import environment, run_python, timed_exit

SLACK_S: Final = 1.0
"""For the interpreter to end on a machine that others use; the timeout, when it is waited for, is 5 s."""


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("", 0),
        ("import sys; sys.exit(3)", 3),
        ("raise ValueError('mine')", 1),
        ("import threading, time; threading.Thread(target=time.sleep, args=(30,), daemon=True).start()", 0),
    ],
    ids=["return", "sys.exit", "exception", "daemon thread"],
)
def test_what_was_traced_is_delivered_at_the_end(ending: str, code: int) -> None:
    """However the program ends by itself: everything arrives, the exit code stays, stderr is the program's own."""
    with StrictPandaProbe() as server:
        result = run_python(f"for n in range(20): one(f't{{n}}')\n{ending}", environment(server.url))
        posts = server.posts()

    assert result.returncode == code
    assert len(posts) == 20
    assert ("mine" in result.stderr) if "mine" in ending else (result.stderr == "")


def test_a_first_span_at_exit_is_delivered_without_a_new_thread() -> None:
    """Python 3.12 refuses new threads at this point; the work is done in the thread that ends the process."""
    with StrictPandaProbe() as server:
        code = """
        import atexit, threading
        assert threading.active_count() == 1
        atexit.register(one, "last")
        """
        result = run_python(code, environment(server.url))

        assert (result.returncode, result.stderr) == (0, "")
        assert [post.body["name"] for post in server.posts()] == ["last"]


def test_a_server_that_hangs_holds_the_exit_no_longer_than_the_timeout() -> None:
    """The shutdown timeout bounds the end, and one line says how much was lost."""
    with StrictPandaProbe() as server:
        server.answer = lambda method, path: Reply(reset="silent")
        begun = time.monotonic()
        result = run_python("one('a')", environment(server.url, PANDAPROBE_SHUTDOWN_TIMEOUT="1"))
        took = time.monotonic() - begun

    assert result.returncode == 0
    assert took < 5
    assert result.stderr.count("2 spans were not delivered") == 1


@pytest.mark.parametrize("waiting", [1, 20])
def test_a_server_that_is_away_holds_the_exit_for_a_moment(waiting: int) -> None:
    """Nothing listens there at all: it is tried for a second and a half, whatever the timeout."""
    with StrictPandaProbe() as server:
        url = server.url
    result, took = timed_exit(f"for n in range({waiting}): one(f't{{n}}')", environment(url))

    assert result.returncode == 0
    assert took < 2.0 + SLACK_S
    assert result.stderr.count(f"{2 * waiting} spans were not delivered") == 1
    assert "PANDAPROBE_SHUTDOWN_TIMEOUT" not in result.stderr


def test_an_open_root_at_the_end_is_sent_as_running() -> None:
    """A run that was cut off is visible, and not shown as completed."""
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
    """KeyboardInterrupt is an end like any other."""
    with StrictPandaProbe() as server:
        code = "import os, signal\none('a')\nos.kill(os.getpid(), signal.SIGINT)\nimport time; time.sleep(5)"
        result = run_python(code, environment(server.url))

        assert "KeyboardInterrupt" in result.stderr
        assert len(server.posts()) == 1


def test_a_refused_key_does_not_hold_the_exit() -> None:
    """Nothing can be sent for a minute, so the process does not wait for its whole timeout, and says what to do."""
    with StrictPandaProbe() as server:
        server.answer = lambda method, path: Reply(status=401, body={"detail": "Invalid or revoked API key."})
        result, took = timed_exit("for n in range(20): one(f't{n}')", environment(server.url))

    assert result.returncode == 0
    assert took < 2.0 + SLACK_S
    assert "Invalid or revoked API key" in result.stderr
    assert "PANDAPROBE_SHUTDOWN_TIMEOUT" not in result.stderr
