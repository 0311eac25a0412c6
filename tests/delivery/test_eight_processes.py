"""Eight real processes share a limit with a window of seconds; PANDAPROBE_FLEET=1 runs every way in real minutes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Final

import pytest

from redis_server import RedisServer, require_redis
from strict_pandaprobe import StrictPandaProbe
from subprocesses import environment
from waiting import answer_over, wait_until

PROCESSES: Final = 8
SUPPORT: Final = Path(__file__).parents[1] / "support"
IN_MINUTES: Final = bool(os.environ.get("PANDAPROBE_FLEET"))
WINDOW_S, LIMIT = (60, 100) if IN_MINUTES else (2, 16)
ROUNDS, EVERY_S = (45, 4.0) if IN_MINUTES else (6, 0.5)
"""In each round, every process makes one trace."""
AWAY_S: Final = (60.0, 90.0) if IN_MINUTES else (1.0, 1.5)
"""Times at which Redis is killed, and restarted without its data."""
GUNICORN: Final = ("-m", "gunicorn", "fleet_app:app", "--workers", str(PROCESSES), "--bind", "unix:socket")
WAYS: Final = {
    "gunicorn": GUNICORN,
    "preloaded": (*GUNICORN, "--preload"),
    "spawned": (str(SUPPORT / "fleet_app.py"), str(PROCESSES), str(ROUNDS), str(EVERY_S)),
}
"""Commands that start the processes; multiprocessing spawns those of the last one, which make traces by themselves."""
BUDGETS: Final = ("Redis", "restarted", "file")
SAMPLE: Final = (("preloaded", "restarted"), ("preloaded", "file"), ("spawned", "Redis"))


def ask(socket: Path) -> None:
    """Request every trace of gunicorn: in each round, send as many requests at once as there are workers."""
    begun = time.monotonic()
    with ThreadPoolExecutor(PROCESSES) as pool:
        for number in range(ROUNDS):
            time.sleep(max(begun + number * EVERY_S - time.monotonic(), 0))
            assert set(pool.map(lambda _: answer_over(socket, "/trace"), range(PROCESSES))) == {200}


@pytest.mark.outer
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("way", "budget"), product(WAYS, BUDGETS) if IN_MINUTES else SAMPLE)
def test_eight_processes_share_a_limit(tmp_path: Path, way: str, budget: str) -> None:
    """The server refuses no process and every trace arrives, even if Redis dies and loses its data."""
    with ExitStack() as stack:
        server = stack.enter_context(StrictPandaProbe(limit=LIMIT, window_s=WINDOW_S))
        where = {"PANDAPROBE_SPOOL_DIR": str(tmp_path / "spool")}
        if budget != "file":
            require_redis()
            redis = stack.enter_context(RedisServer())
            where = {"PANDAPROBE_REDIS_URL": redis.url}
        scale = {"FLEET_WINDOW_S": str(WINDOW_S), "FLEET_LIMIT": str(LIMIT)}
        env = environment(server.url, PYTHONPATH=str(SUPPORT), PANDAPROBE_SHUTDOWN_TIMEOUT="1", **where, **scale)
        if budget == "restarted":
            for at_s, happen in zip(AWAY_S, (redis.stop, redis.start), strict=True):
                timer = threading.Timer(at_s, happen)
                timer.start()
                stack.callback(timer.join)
        fleet = subprocess.Popen([sys.executable, *WAYS[way]], cwd=tmp_path, env=env, process_group=0)
        stack.callback(fleet.wait)
        stack.callback(os.killpg, fleet.pid, signal.SIGKILL)
        if way != "spawned":
            ask(tmp_path / "socket")
        wait_until(lambda: len(server.traces) == PROCESSES * ROUNDS, patience_s=600)
        posts = server.posts()

    assert {post.status for post in posts} == {202}
    assert len({post.body["name"].split()[0] for post in posts}) == PROCESSES
    if IN_MINUTES and budget != "restarted":
        assert sum(at < server.accepted_at[0] + 180 for at in server.accepted_at) >= 3 * 97
