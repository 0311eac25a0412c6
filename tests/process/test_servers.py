"""Servers that fork their workers: gunicorn with a preloaded app, and Celery with a process for each task."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from strict_pandaprobe import StrictPandaProbe
from subprocesses import SET_UP, environment
from waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

REQUESTS, TASKS = 24, 4

WEB_APP = f"""{SET_UP}
one("preload")
boot = tracer.start_span("boot", attributes=CHAT)  # open in the master while it forks
def app(environ, start_response):
    one("request " + environ["PATH_INFO"].strip("/"))
    start_response("200 OK", [])
    return [b"ok"]
def on_exit(server):
    boot.end()
"""
TASK_APP = f"""{SET_UP}
import os
from celery import Celery
from celery.signals import worker_ready
app = Celery("tasks", broker="filesystem://")
folders = {{"data_folder_in": "in", "data_folder_out": "in", "control_folder": "control"}}
app.conf.update(broker_transport_options=folders, worker_hijack_root_logger=False)
@app.task
def work(number):
    one(f"task {{number}}")
@worker_ready.connect
def send(**_):
    for number in range({TASKS}):
        work.delay(number)
"""


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's file."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(60)
        self.sock.connect(str(self._path))


@contextmanager
def running(folder: Path, env: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a server in its own process group, and kill the group if the server still runs at the end."""
    command = [sys.executable, "-m", *arguments]
    with subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0
    ) as server:
        try:
            yield server
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGKILL)


def names(server: StrictPandaProbe) -> Counter[str]:
    """Return the number of posted traces by name."""
    return Counter(post.body["name"] for post in server.posts())


def test_workers_of_gunicorn_deliver_what_they_trace_and_the_master_the_rest(tmp_path: Path) -> None:
    """Preloaded workers and their successors send each trace once.

    They are forked while a request of this library is under way and a span is open.
    """
    (tmp_path / "web.py").write_text(WEB_APP, encoding="utf-8")
    listens = tmp_path / "socket"
    options = ("--preload", "--workers=4", f"--bind=unix:{listens}", "--max-requests=4", "--config=python:web")
    with StrictPandaProbe(limit=10_000, delay=lambda: 0.05) as server:
        env = environment(server.url, PYTHONPATH=str(tmp_path))
        with running(tmp_path, env, "gunicorn", "web:app", *options, "--log-level=warning") as master:
            wait_until(listens.exists, what="gunicorn listens")
            with ThreadPoolExecutor(4) as pool:
                statuses = list(pool.map(lambda number: ask(listens, number), range(REQUESTS)))
            master.send_signal(signal.SIGTERM)
            said, _ = master.communicate(timeout=PATIENCE_S)
        expected = {"preload", "boot", *(f"request {number}" for number in range(REQUESTS))}

        assert statuses == [200] * REQUESTS
        assert master.returncode == 0, said
        assert names(server) == Counter(expected), said


def ask(path: Path, number: int) -> int:
    """Send one request; repeat the request if its worker is being replaced."""
    statuses: list[int] = []

    def is_answered() -> bool:
        connection = UnixConnection(path)
        with closing(connection), suppress(OSError):
            connection.request("GET", f"/{number}")
            statuses.append(connection.getresponse().status)
        return bool(statuses)

    wait_until(is_answered, what=f"an answer to request {number}")
    return statuses[0]


def test_a_process_of_celery_that_ends_after_one_task_delivers_it(tmp_path: Path) -> None:
    """With `max_tasks_per_child=1`, a child delivers its task although os._exit ends it at once."""
    (tmp_path / "tasks.py").write_text(TASK_APP, encoding="utf-8")
    for name in ("in", "control"):
        (tmp_path / name).mkdir()
    options = ("--concurrency=2", "--max-tasks-per-child=1", "--without-gossip", "--without-mingle", "-lERROR")
    with StrictPandaProbe() as server:
        env = environment(server.url)
        with running(tmp_path, env, "celery", "-A", "tasks", "worker", *options) as worker:
            wait_until(lambda: worker.poll() is not None or len(server.traces) >= TASKS)

        assert names(server) == Counter(f"task {number}" for number in range(TASKS))
        assert all(len(trace.spans) == 2 for trace in server.traces.values())
