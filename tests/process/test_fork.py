"""Forked and spawned children, in real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from strict_pandaprobe import StrictPandaProbe
from subprocesses import SET_UP, environment, run_python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def names(server: StrictPandaProbe) -> list[str]:
    """Names of the posted traces."""
    return sorted(post.body["name"] for post in server.posts())


def test_parent_and_child_each_deliver_their_own_once() -> None:
    """What waits in the parent stays with the parent; the child starts empty and sends what it traces."""
    with StrictPandaProbe() as server:
        code = """
        import os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of a fork with threads
        one("before")
        pid = os.fork()
        if pid == 0:
            one("child")
            ok = handle.flush(10)
            counts = handle.status()
            os._exit(0 if ok and counts.spans_ended == 2 == counts.spans_delivered else 9)
        one("parent")
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status == 0, status
        """
        result = run_python(code, environment(server.url))

        assert (result.returncode, result.stderr) == (0, "")
        assert names(server) == ["before", "child", "parent"]


def test_a_child_leaves_the_open_trace_to_its_parent_and_adds_to_it() -> None:
    """Forked within a span: the child's copy of it is nobody's, its own spans join the parent's one trace."""
    with StrictPandaProbe() as server:
        code = """
        import os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        with tracer.start_as_current_span("agent", attributes={"gen_ai.operation.name": "invoke_agent"}):
            with tracer.start_as_current_span("before", attributes=CHAT):
                pass
            pid = os.fork()
            with tracer.start_as_current_span("in child" if pid == 0 else "in parent", attributes=CHAT):
                pass
        assert handle.flush(10)
        counts = handle.status()
        assert (counts.spans_ended, counts.spans_delivered) == ((1, 1) if pid == 0 else (3, 3)), counts
        if pid == 0:
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        """
        result = run_python(code, environment(server.url))

        assert (result.returncode, result.stderr) == (0, "")
        assert names(server) == ["agent"]
        (trace,) = server.traces.values()
        assert sorted(span["name"] for span in trace.spans.values()) == ["agent", "before", "in child", "in parent"]


def test_forking_while_requests_are_under_way_never_hangs() -> None:
    """Many forks from a process whose threads hold locks: each child traces and ends."""
    with StrictPandaProbe(limit=10_000, delay=lambda: 0.02) as server:
        code = """
        import os, threading, time, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        stop = threading.Event()
        def busy():
            while not stop.is_set():
                one("busy")
                time.sleep(0.02)
        threads = [threading.Thread(target=busy, daemon=True) for _ in range(3)]
        for thread in threads: thread.start()
        time.sleep(0.2)
        for n in range(15):
            pid = os.fork()
            if pid == 0:
                one(f"child {n:02}")
                os._exit(0 if handle.flush(10) else 9)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        stop.set()
        for thread in threads: thread.join()
        handle.shutdown(1)
        """
        result = run_python(code, environment(server.url), timeout_s=60)

        assert result.returncode == 0, result.stderr
        assert [name for name in names(server) if name.startswith("child")] == [f"child {n:02}" for n in range(15)]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_deliver_at_their_end(method: str, tmp_path: Path) -> None:
    """They end by os._exit, without atexit; their finalizers run."""
    with StrictPandaProbe() as server:
        program = f"""
import multiprocessing, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import child_work
if __name__ == "__main__":
    process = multiprocessing.get_context("{method}").Process(target=child_work.work)
    process.start(); process.join()
    sys.exit(process.exitcode)
"""
        result = _run_with_module(tmp_path, program, environment(server.url))

        assert result == (0, "")
        assert names(server) == ["in child"]


def _run_with_module(folder: Path, program: str, env: dict[str, str]) -> tuple[int, str]:
    """Run a program that has its child's work in a module of its own, as spawn needs it."""
    (folder / "child_work.py").write_text(SET_UP + "\ndef work():\n    one('in child')\n", encoding="utf-8")
    (folder / "main.py").write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "main.py"], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stderr
