"""Forked and spawned children, in real processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pandaprobe_otel.transport.outcome import Request
from raw_answers import by_socket
from strict_pandaprobe import StrictPandaProbe
from subprocesses import SET_UP, environment, run_python, run_quietly

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def names(server: StrictPandaProbe) -> list[str]:
    """Return the names of the posted traces."""
    return sorted(post.body["name"] for post in server.posts())


def test_parent_and_child_each_deliver_their_own_once() -> None:
    """The parent sends the traces that waited at the fork; the child starts without any and sends its own."""
    with StrictPandaProbe() as server:
        code = """
        import os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of a fork with threads
        one("before")
        pid = os.fork()
        if pid == 0:
            one("child")
            ok = handle.flush(60)
            counts = handle.status()
            os._exit(0 if ok and counts.spans_ended == 2 == counts.spans_delivered else 9)
        one("parent")
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status == 0, status
        """
        run_quietly(code, environment(server.url))
        assert names(server) == ["before", "child", "parent"]


def test_a_child_leaves_the_open_trace_to_its_parent_and_adds_to_it() -> None:
    """A child forked within a span does not send its copy of the span; its own spans join the parent's trace."""
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
        assert handle.flush(25)
        counts = handle.status()
        assert (counts.spans_ended, counts.spans_delivered) == ((1, 1) if pid == 0 else (3, 3)), counts
        if pid == 0:
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        """
        run_quietly(code, environment(server.url))
        assert names(server) == ["agent"]
        (trace,) = server.traces.values()
        assert sorted(span["name"] for span in trace.spans.values()) == ["agent", "before", "in child", "in parent"]


def test_forking_from_many_threads_within_open_spans_never_hangs() -> None:
    """Children forked by fifty threads, with requests under way and spans open, each send their trace and end.

    The parent keeps its spans. PANDAPROBE_FORKS=200 makes four forks for each thread, which takes a minute.
    """
    forks = int(os.environ.get("PANDAPROBE_FORKS", "20"))
    with StrictPandaProbe(limit=10_000, delay=lambda: 0.02) as server:
        code = f"""
        import os, threading, warnings
        from opentelemetry import context
        warnings.simplefilter("ignore", DeprecationWarning)
        handle.flush(0)
        failed = []
        def fork(number):
            for n in range(number, {forks}, 50):
                with tracer.start_as_current_span(f"open {{n}}", attributes=CHAT):
                    pid = os.fork()
                    if pid == 0:
                        context.attach(context.Context())  # else it would add to its parent's trace, which is open
                        one(f"child {{n}}")
                        os._exit(0 if handle.flush(60) and handle.status().spans_ended == 2 else 9)
                    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
                        failed.append(n)
        threads = [threading.Thread(target=fork, args=(number,)) for number in range(50)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert not failed, failed
        assert handle.flush(60)
        """
        result = run_python(code, environment(server.url), timeout_s=max(60, 5 * forks))

        assert result.returncode == 0, result.stderr
        assert names(server) == sorted(f"{kind} {n}" for n in range(forks) for kind in ("child", "open"))


def test_a_child_that_is_forked_while_modules_are_loaded_does_not_hang() -> None:
    """A fork waits for an import for a limited time; then the child still sends, but loads nothing more."""
    with StrictPandaProbe() as server:
        code = """
        import os, threading, warnings
        from pandaprobe_otel.process import forks
        warnings.simplefilter("ignore", DeprecationWarning)
        forks.LONGEST_WAIT_S = 0.05
        is_loading, ends = threading.Event(), threading.Event()
        def load():
            with forks.loading():
                is_loading.set()
                ends.wait(60)
        threading.Thread(target=load).start()
        is_loading.wait(60)
        pid = os.fork()
        if pid == 0:
            one("child")
            delivers = handle.flush(60)
            try:
                pandaprobe_otel.evaluate
            except ImportError:
                handle.shutdown()
                os._exit(0 if delivers and not pandaprobe_otel.init().status().enabled else 9)
            os._exit(8)
        ends.set()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        one("parent")
        """
        result = run_python(code, environment(server.url))

        assert result.returncode == 0, result.stderr
        assert result.stderr.count("nothing is sent") == 1
        assert names(server) == ["child", "parent"]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_pool_whose_initializer_is_init_traces_however_its_processes_start(method: str, tmp_path: Path) -> None:
    """A pool with `init` as its initializer traces in forked and in spawned processes."""
    (tmp_path / "agents.py").write_text(
        "import pandaprobe_otel\n@pandaprobe_otel.agent(name='in child')\ndef work(): ...\n", encoding="utf-8"
    )
    with StrictPandaProbe() as server:
        program = f"""
import multiprocessing, warnings
from concurrent.futures import ProcessPoolExecutor
import pandaprobe_otel
from agents import work
warnings.simplefilter("ignore", DeprecationWarning)
if __name__ == "__main__":
    pandaprobe_otel.init()
    context = multiprocessing.get_context("{method}")
    with ProcessPoolExecutor(2, mp_context=context, initializer=pandaprobe_otel.init) as pool:
        [future.result() for future in [pool.submit(work) for _ in range(4)]]
"""
        result = _run_with_module(tmp_path, program, environment(server.url))

        assert result == (0, "")
        assert names(server) == ["in child"] * 4


def test_children_of_multiprocessing_deliver_at_their_end(tmp_path: Path) -> None:
    """Forked children of multiprocessing deliver in their finalizers, since os._exit ends them without atexit."""
    with StrictPandaProbe() as server:
        program = """
import multiprocessing, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import child_work
if __name__ == "__main__":
    process = multiprocessing.get_context("fork").Process(target=child_work.work)
    process.start(); process.join()
    sys.exit(process.exitcode)
"""
        result = _run_with_module(tmp_path, program, environment(server.url))

        assert result == (0, "")
        assert names(server) == ["in child"]


def _run_with_module(folder: Path, program: str, env: dict[str, str]) -> tuple[int, str]:
    """Run a program whose child's function is in its own module, as the method spawn needs."""
    (folder / "child_work.py").write_text(SET_UP + "\ndef work():\n    one('in child')\n", encoding="utf-8")
    (folder / "main.py").write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "main.py"], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stderr


# -- descriptors that the app closes by number --


APP = """
import os, socket, sys, warnings
warnings.simplefilter("ignore")
OURS = b"of the app" * 1000
def close_and_open(round):
    os.closerange(3, 256)
    files = [open(f"app {round} {n}", "w+b", buffering=0) for n in range(12)]
    for file in files:
        file.write(OURS)
    pairs = [socket.socketpair() for _ in range(12)]
    for pair in pairs:
        pair[1].setblocking(False)
    return files, pairs
def check(files, pairs):
    for file in files:
        file.seek(0)
        assert file.read() == OURS, file.name
    for one_end, other_end in pairs:
        one_end.send(b"x")
        assert other_end.recv(100) == b"x"
    for one_end, other_end in pairs:
        other_end.send(b"y")
        assert one_end.recv(100) == b"y"
"""


def test_a_number_that_the_app_takes_while_a_connection_opens_stays_the_apps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that gets the number of a socket while it connects is neither written to nor closed."""
    connect, taken = socket.socket.connect, list[int]()
    mine = os.open(tmp_path / "app", os.O_RDWR | os.O_CREAT)

    def overtaken(this: socket.socket, address: Any) -> None:
        connect(this, address)
        if not taken:
            taken.append(os.dup2(mine, this.fileno()))

    monkeypatch.setattr(socket.socket, "connect", overtaken)
    with StrictPandaProbe() as server:
        by_socket(server.url, Request(method="GET", path="/health", timeout_s=20.0))

    assert [os.path.sameopenfile(mine, number) for number in taken] == [True]
    assert os.fstat(mine).st_size == 0
    for number in (mine, *taken):
        os.close(number)


@pytest.mark.parametrize(
    ("has_spool", "forks"),
    [(False, False), (True, False), (True, True)],
    ids=["memory", "spool", "spool of a daemon"],
)
def test_numbers_that_the_app_has_closed_stay_the_apps(has_spool: bool, forks: bool, tmp_path: Path) -> None:
    """Nothing of ours is written to, read from or closed in the app's files and sockets; every trace arrives once."""
    with StrictPandaProbe() as server:
        code = f"""
one("before")
assert handle.flush(60)
if {forks} and os.fork():
    os.wait(); handle.shutdown()
    os._exit(0)
files, pairs = [], []
for round in range(2):
    one(f"waiting {{round}}")
    for each in [*files, *(end for pair in pairs for end in pair)]:
        each.close()
    files, pairs = close_and_open(round)
    for n in range(3):
        one(f"after {{round}} {{n}}")
        assert handle.flush(60)
        check(files, pairs)
handle.shutdown()
check(files, pairs)
counts = handle.status()
assert counts.spans_delivered == counts.spans_ended and not counts.spans_dropped, counts
"""
        env = environment(server.url, **{"PANDAPROBE_SPOOL_DIR": str(tmp_path / "spool")} if has_spool else {})
        result = run_python(f"import os; os.chdir({str(tmp_path)!r})" + APP + code, env)

        assert result.returncode == 0, result.stderr
        # If they were closed in the middle of a transaction, it is written again a second later, with a warning.
        assert all("the app has closed its descriptors" in line for line in result.stderr.splitlines()), result.stderr
        names = sorted(post.body["name"] for post in server.posts())
        rounds = [[f"after {n} 0", f"after {n} 1", f"after {n} 2", f"waiting {n}"] for n in range(2)]
        assert names == sorted(["before", *rounds[0], *rounds[1]])
    contents = {file.read_bytes() for file in tmp_path.glob("app *")}
    assert contents == {b"of the app" * 1000}
    assert not list(tmp_path.glob("spool/*.sqlite*"))


def test_numbers_closed_in_the_middle_of_a_transaction_are_named(tmp_path: Path) -> None:
    """The warning names what the app did, not the error of SQLite, and the trace arrives once."""
    code = """
from pandaprobe_otel.delivery.spool.spool_file import SpoolFile
insert = SpoolFile.insert
def closed_before_its_end(*given, **options):
    SpoolFile.insert = insert
    row = insert(*given, **options)
    os.closerange(3, 256)
    return row
SpoolFile.insert = closed_before_its_end
one("a trace")
handle.shutdown()
"""
    with StrictPandaProbe() as server:
        result = run_python(APP + code, environment(server.url, PANDAPROBE_SPOOL_DIR=str(tmp_path)))

        assert result.returncode == 0, result.stderr
        assert result.stderr.count("cannot be written (the app has closed its descriptors)") == 1, result.stderr
        assert [post.body["name"] for post in server.posts()] == ["a trace"]
