"""Servers with their own signal handlers, and servers that fork their workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from redis_server import RedisServer, require_redis
from rings import IN_FULL
from strict_pandaprobe import StrictPandaProbe
from subprocesses import SET_UP, environment
from waiting import PATIENCE_S, answer_over, wait_until

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

REQUESTS, TASKS = 24, 4
ROUNDS: Final = 20

ASYNC_APP = f"""{SET_UP}
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for event in ("startup", "shutdown"):
            await receive()
            await send({{"type": f"lifespan.{{event}}.complete"}})
    else:
        one("request " + scope["path"].strip("/"))
        await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}})
        await send({{"type": "http.response.body", "body": b"ok"}})
"""
SYNC_APP = f"""{SET_UP}
def app(environ, start_response):
    one("request " + environ["PATH_INFO"].strip("/"))
    start_response("200 OK", [("content-length", "2")])
    return [b"ok"]
"""
JOB: Final = """
def work(number):
    one(f"task {number}")
    if number == 1:
        raise ValueError("a failed job")
"""
MASTER_APP: Final = 'one("master")  # assembled, mapped and sent while the master forks'
GUNICORN: Final = "gunicorn --bind unix:SOCKET --workers"
UVICORN_WORKERS: Final = f"{GUNICORN} 2 --worker-class uvicorn.workers.UvicornWorker"
SERVERS: Final = {
    "uvicorn": "uvicorn --uds SOCKET",
    "uvicorn, two workers": "uvicorn --uds SOCKET --workers 2",
    "uvicorn, reloading": "uvicorn --uds SOCKET --reload",
    "gunicorn with uvicorn": UVICORN_WORKERS,
    "gunicorn with uvicorn, preloaded": f"{UVICORN_WORKERS} --preload",
    "gunicorn, recycled and preloaded, with a spool": f"{GUNICORN} 4 --preload --max-requests 8",
    "gunicorn, threads": f"{GUNICORN} 2 --worker-class gthread",
    "hypercorn": "hypercorn --bind unix:SOCKET",
    "hypercorn, two workers": "hypercorn --bind unix:SOCKET --workers 2",
    "granian": "granian --interface asgi --uds SOCKET",
}
"""Servers by their command, to which the app is added. Those that serve WSGI are the synchronous ones of gunicorn."""
AT_LENGTH: Final = tuple(name for name in SERVERS if name.startswith(("uvicorn", "gunicorn")))
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


def serve_and_stop(folder: Path, name: str, endpoint: str, stop: Callable[[subprocess.Popen[str]], None]) -> int:
    """Send requests, stop the server after its last answer, return its exit code once none of its processes is left."""
    folder.mkdir()
    is_sync = name.startswith("gunicorn") and "uvicorn" not in name
    app = SYNC_APP if is_sync else ASYNC_APP
    (folder / "web.py").write_text(app + MASTER_APP if "preloaded" in name else app, encoding="utf-8")
    listens = folder / "socket"
    spool = {"PANDAPROBE_SPOOL_DIR": str(folder / "spool")} if "spool" in name else {}
    command = SERVERS[name].replace("SOCKET", str(listens)).split()
    with running(folder, environment(endpoint, PYTHONPATH=str(folder), **spool), *command, "web:app") as server:
        wait_until(lambda: listens.exists() or server.poll() is not None, what=f"{name} listens")
        with ThreadPoolExecutor(4) as pool:
            statuses = list(pool.map(lambda number: answer_over(listens, f"/{number}"), range(REQUESTS)))
        stop(server)
        log, _ = server.communicate(timeout=PATIENCE_S)

        assert statuses == [200] * REQUESTS, log
        wait_until(lambda: has_ended(server.pid), what=f"all processes of {name} end: {log}")
    return server.returncode


def expected(name: str) -> Counter[str]:
    """Return the traces of a server that has answered all requests."""
    requests = Counter(f"request {number}" for number in range(REQUESTS))
    return requests + Counter(["master"]) if "preloaded" in name else requests


def has_ended(group: int) -> bool:
    """Return whether no process of this group is left."""
    with suppress(ProcessLookupError):
        os.killpg(group, 0)
        return False
    return True


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "uvicorn" else pytest.mark.outer) for name in SERVERS]
)
def test_a_server_that_sigterm_ends_delivers_every_trace(name: str, tmp_path: Path) -> None:
    """Each trace that ended before SIGTERM arrives once, and the exit code is the server's own."""
    with StrictPandaProbe(limit=10_000, delay=lambda: 0.05) as server:
        code = serve_and_stop(tmp_path / "app", name, server.url, lambda process: process.terminate())

        assert code == (-signal.SIGTERM if name == "uvicorn" else 0)
        assert names(server) == expected(name)


@pytest.mark.outer
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("name", [name for name in SERVERS if name != "granian"])
def test_a_signal_to_all_processes_of_a_server_leaves_time_to_deliver(
    name: str, number: signal.Signals, tmp_path: Path
) -> None:
    """A terminal and systemd send the signal to workers too, which then get another one from the server's master."""
    with StrictPandaProbe(limit=10_000, delay=lambda: 0.05) as server:
        serve_and_stop(tmp_path / "app", name, server.url, lambda process: os.killpg(process.pid, number))

        assert names(server) == expected(name)


@pytest.mark.parametrize("name", [pytest.param(name, marks=IN_FULL) for name in AT_LENGTH])
def test_no_trace_is_missing_in_twenty_rounds(name: str, tmp_path: Path) -> None:
    """No round loses a trace that ended before SIGTERM, and no worker hangs."""
    missing: dict[int, Counter[str]] = {}
    for number in range(ROUNDS):
        with StrictPandaProbe(limit=10_000, delay=lambda: 0.05) as server:
            serve_and_stop(tmp_path / str(number), name, server.url, lambda process: process.terminate())
            if lost := expected(name) - names(server):
                missing[number] = lost

    assert not missing


@pytest.mark.outer
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


@pytest.mark.outer
@pytest.mark.parametrize("preload", ["", "import tasks"], ids=["init in the job", "init in the worker"])
def test_a_process_of_rq_that_ends_after_its_job_delivers_it(preload: str, tmp_path: Path) -> None:
    """RQ ends the process of each job by os._exit: jobs that return and jobs that raise are delivered."""
    require_redis()
    (tmp_path / "tasks.py").write_text(f"{SET_UP}\n{JOB}", encoding="utf-8")
    with StrictPandaProbe() as server, RedisServer() as redis:
        connect = f"from redis import Redis; r = Redis.from_url({redis.url!r}); from rq import Queue, Worker"
        enqueue = f"{connect}\nfor number in range({TASKS}): Queue(connection=r).enqueue('tasks.work', number)"
        work = f"{preload}\n{connect}\nWorker(['default'], connection=r).work(burst=True)"
        for code in (enqueue, work):
            done = subprocess.run(
                [sys.executable, "-c", code],
                cwd=tmp_path, env=environment(server.url), capture_output=True, text=True, timeout=PATIENCE_S,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr

        assert names(server) == Counter(f"task {number}" for number in range(TASKS))
        assert all(len(trace.spans) == 2 for trace in server.traces.values())
