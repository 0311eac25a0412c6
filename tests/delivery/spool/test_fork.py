"""Forks with a spool, in real processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spools import inherit
from strict_pandaprobe import Reply, StrictPandaProbe
from subprocesses import environment, run_python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

QUIET = "import os, signal, sys, time, threading, warnings\nwarnings.simplefilter('ignore', DeprecationWarning)\n"


def names(server: StrictPandaProbe) -> list[str]:
    """Return the names of the posted traces."""
    return sorted(post.body["name"] for post in server.posts())


def test_a_child_that_ends_at_once_leaves_everything_in_the_spool(tmp_path: Path) -> None:
    """os._exit runs no handler: the child's traces stay on disk, and the parent sends them."""
    with StrictPandaProbe() as server:
        server.answer = lambda method, path: Reply(status=503)
        code = QUIET + (
            """
one("parent")
while not handle.flush(0.05): pass
pid = os.fork()
if pid == 0:
    one("child")
    while not handle.flush(0.05): pass
    os._exit(0)
os.waitpid(pid, 0)
print(len([name for name in os.listdir(os.environ["PANDAPROBE_SPOOL_DIR"]) if name.endswith(".sqlite")]))
"""
        )
        env = environment(server.url, PANDAPROBE_SPOOL_DIR=str(tmp_path), PANDAPROBE_SHUTDOWN_TIMEOUT="0.1")
        result = run_python(code, env)
        assert (result.returncode, result.stdout) == (0, "2\n")
        server.answer = lambda method, path: None
        assert inherit(server, tmp_path) == 4
        assert sorted({trace.fields["name"] for trace in server.traces.values()}) == ["child", "parent"]


def test_a_parent_killed_while_its_child_lives_is_adopted(tmp_path: Path) -> None:
    """A killed parent's file is adopted while its child lives, since the child closes the inherited lock."""
    with StrictPandaProbe() as server:
        server.answer = lambda method, path: Reply(status=503)
        code = QUIET + (
            """
one("parent")
while not handle.flush(0.05): pass
pid = os.fork()
if pid == 0:
    os.close(1); os.close(2)
    signal.pause()
    os._exit(0)
print(pid, flush=True)
os.kill(os.getpid(), 9)
"""
        )
        env = environment(server.url, PANDAPROBE_SPOOL_DIR=str(tmp_path))
        result = run_python(code, env)
        child = int(result.stdout)
        try:
            server.answer = lambda method, path: None
            os.kill(child, 0)  # raises if the child is dead
            assert inherit(server, tmp_path) == 2
        finally:
            os.kill(child, 9)

        assert {trace.fields["name"] for trace in server.traces.values()} == {"parent"}


def test_forking_while_the_disk_is_written_never_hangs(tmp_path: Path) -> None:
    """Forks while threads trace and the spool writes do not hang: each child traces and ends."""
    with StrictPandaProbe(limit=10_000, delay=lambda: 0.01) as server:
        code = QUIET + (
            """
stop = threading.Event()
def busy():
    while not stop.wait(0.02):
        one("busy")
threads = [threading.Thread(target=busy, daemon=True) for _ in range(3)]
for thread in threads: thread.start()
while handle.status().spans_delivered < 20: time.sleep(0.01)
for n in range(12):
    pid = os.fork()
    if pid == 0:
        one(f"child {n:02}")
        while not handle.flush(0.05): pass  # to disk: the others use the limit up
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
stop.set()
for thread in threads: thread.join()
"""
        )
        env = environment(server.url, PANDAPROBE_SPOOL_DIR=str(tmp_path), PANDAPROBE_SHUTDOWN_TIMEOUT="0.5")
        result = run_python(code, env)

        assert result.returncode == 0, result.stderr
        # Half a second may be too short to send everything.
        assert all("wait in the spool" in line for line in result.stderr.splitlines()), result.stderr


def test_workers_of_a_pool_that_is_terminated_lose_nothing(tmp_path: Path) -> None:
    """Spans that ended in a pool's workers are on disk when multiprocessing ends the workers with SIGTERM."""
    with StrictPandaProbe() as server:
        code = QUIET + (
            """
import multiprocessing
def work(n):
    one(f"task {n}")
    while not handle.flush(0.05): pass
    return n
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(work, range(4)) == [0, 1, 2, 3]
"""
        )
        env = environment(server.url, PANDAPROBE_SPOOL_DIR=str(tmp_path))
        result = run_python(code, env)
        assert result.returncode == 0, result.stderr
        inherit(server, tmp_path)
        assert {trace.fields["name"] for trace in server.traces.values()} == {f"task {n}" for n in range(4)}


FORK_IN_A_WRITE = (
    QUIET
    + """
import logging
logging.getLogger("pandaprobe_otel").addHandler(logging.FileHandler("lines"))
one("parent")
while not handle.flush(0.05): pass
from pandaprobe_otel.delivery.spool.spool_file import SpoolFile
inside, go_on = threading.Event(), threading.Event()
insert = SpoolFile.insert
def slow(*arguments, **options):
    inside.set()
    go_on.wait(60)
    return insert(*arguments, **options)
SpoolFile.insert = slow
one("slow")
assert inside.wait(60)
pid = os.fork()
if pid == 0:
    SpoolFile.insert = lambda *arguments, **options: threading.Event().wait()
    one("child")
    ok = handle.flush(60)
    handle.shutdown()
    os._exit(0 if ok and handle.status().spans_delivered == 2 else 9)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
go_on.set()
assert status == 0, status
while not handle.flush(0.05): pass
"""
)


def test_a_child_that_was_forked_while_its_parent_wrote_sends_from_memory(tmp_path: Path) -> None:
    """SQLite may hang in a child that has copied a held lock: it keeps nothing on disk, logs that, and sends."""
    with StrictPandaProbe() as server:
        code = f"import os\nos.chdir({os.fspath(tmp_path)!r})\n" + FORK_IN_A_WRITE
        result = run_python(code, environment(server.url, PANDAPROBE_SPOOL_DIR=str(tmp_path / "spool")))

        assert result.returncode == 0, result.stderr
        assert (tmp_path / "lines").read_text().count("forked while its parent wrote to it") == 1
        assert names(server) == ["child", "parent", "slow"]
