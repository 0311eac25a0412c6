"""Eight real processes with one key: forked by gunicorn or spawned, with a shared budget and a strict server."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from redis_server import RedisServer
from strict_pandaprobe import StrictPandaProbe
from subprocesses import environment

SUPPORT: Final = Path(__file__).resolve().parent
PROCESSES: Final = 8


class Way(StrEnum):
    """Method by which the processes are started."""

    GUNICORN = "gunicorn"
    """Each worker of gunicorn loads the app."""
    PRELOADED = "gunicorn --preload"
    """The master of gunicorn loads the app and then forks."""
    SPAWNED = "spawned"
    """multiprocessing starts each process in a fresh interpreter."""


class Budget(StrEnum):
    """Kind of budget that the processes share."""

    REDIS = "Redis"
    RESTARTED = "Redis, killed and restarted"
    FILE = "file lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The offered traces, and the longest wait for them. Times are in seconds.

    window_s: None for the real limit of 100 in 60 s. away: times when Redis is killed and when it is restarted, empty.
    """

    rounds: int
    """In each round, every process makes one trace."""
    every_s: float
    within_s: float
    limit: int = 100
    window_s: int | None = None
    away: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of a run, as the server saw it."""

    offered: int
    stored: int
    """Traces that arrived."""
    refused: int
    """Answers other than 202 to POST /traces."""
    accepted_at: tuple[float, ...]
    """Seconds since the first acceptance, ascending."""
    processes: int
    """Number of processes that sent any of the traces."""


def run_fleet(way: Way, budget: Budget, plan: Plan, folder: Path) -> Result:
    """Run the plan until all traces have arrived or the time is up."""
    with ExitStack() as stack:
        server = stack.enter_context(StrictPandaProbe(limit=plan.limit, window_s=plan.window_s or 60))
        redis = None if budget is Budget.FILE else stack.enter_context(RedisServer())
        where = {"PANDAPROBE_REDIS_URL": redis.url} if redis else {"PANDAPROBE_SPOOL_DIR": str(folder / "spool")}
        scale = {"FLEET_WINDOW_S": str(plan.window_s), "FLEET_LIMIT": str(plan.limit)} if plan.window_s else {}
        env = environment(server.url, PYTHONPATH=str(SUPPORT), PANDAPROBE_SHUTDOWN_TIMEOUT="1", **where, **scale)
        begun = time.monotonic()
        if redis is not None and budget is Budget.RESTARTED:
            events = stack.enter_context(ThreadPoolExecutor(1))
            events.submit(_restart, redis, begun, plan.away)
        offered = PROCESSES * plan.rounds
        if way is Way.SPAWNED:
            command = [str(SUPPORT / "fleet_app.py"), str(PROCESSES), str(plan.rounds), str(plan.every_s)]
            stack.enter_context(_program(command, env, folder))
        else:
            stack.enter_context(_program(_gunicorn(way, folder / "socket"), env, folder))
            _ask_all(folder / "socket", plan)
        until = begun + plan.within_s
        while len(server.traces) < offered and time.monotonic() < until:
            time.sleep(0.05)
        names = [post.body["name"].split()[0] for post in server.posts() if post.status == 202]
        first = server.accepted_at[0] if server.accepted_at else 0.0
        return Result(
            offered=offered,
            stored=len(server.traces),
            refused=sum(post.status != 202 for post in server.posts()),
            accepted_at=tuple(at - first for at in sorted(server.accepted_at)),
            processes=len(set(names)),
        )


def _restart(redis: RedisServer, begun: float, away: tuple[float, float]) -> None:
    for at, happen in zip(away, (redis.stop, redis.start), strict=True):
        time.sleep(max(begun + at - time.monotonic(), 0))
        happen()


@contextmanager
def _program(command: list[str], env: Mapping[str, str], folder: Path) -> Iterator[None]:
    """Run a program in its own process group, and kill the whole group at the end."""
    with subprocess.Popen([sys.executable, *command], cwd=folder, env=dict(env), process_group=0) as program:
        try:
            yield
        finally:
            if program.poll() is None:
                os.killpg(program.pid, signal.SIGKILL)


def _gunicorn(way: Way, path: Path) -> list[str]:
    options = ["--workers", str(PROCESSES), "--bind", f"unix:{path}", "--log-level", "warning", "--timeout", "600"]
    return ["-m", "gunicorn", "fleet_app:app", *options, *(["--preload"] if way is Way.PRELOADED else [])]


def _ask_all(path: Path, plan: Plan) -> None:
    """Request every trace: in each round, send as many requests at once as there are workers."""
    with ThreadPoolExecutor(PROCESSES) as pool:
        begun = time.monotonic()
        for number in range(plan.rounds):
            time.sleep(max(begun + number * plan.every_s - time.monotonic(), 0))
            list(pool.map(lambda each: _ask(path, each), range(number * PROCESSES, (number + 1) * PROCESSES)))


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


def _ask(path: Path, number: int) -> None:
    """Send one request, and repeat it until gunicorn listens."""
    deadline = time.monotonic() + 60
    while True:
        connection = UnixConnection(path)
        try:
            connection.request("GET", f"/{number}")
            assert connection.getresponse().status == 200
        except (ConnectionError, FileNotFoundError):
            assert time.monotonic() < deadline, "gunicorn does not listen"
            time.sleep(0.05)
        else:
            return
        finally:
            connection.close()
