"""Real processes, a real Redis and the real limiter: the first window of a fleet."""

from __future__ import annotations

import subprocess
import sys
import time

from redis_server import RedisServer, require_redis
from strict_pandaprobe import StrictPandaProbe
from subprocesses import SET_UP, environment

WORKER = (
    SET_UP
    + """
for _ in range(60):
    one("busy")
handle.flush(60)
"""
)


def test_four_processes_share_one_hundred() -> None:
    """Each has 60 traces at once. Together they send 100 without waiting for any to come back; nobody is refused.

    Fewer by the tokens of calls that took longer than 0.2 s: on a busy machine Redis seems away to who waits for it.
    """
    require_redis()
    with RedisServer() as redis, StrictPandaProbe() as server:
        env = environment(server.url, PANDAPROBE_REDIS_URL=redis.url)
        workers = [
            subprocess.Popen([sys.executable, "-c", WORKER], env=env, stderr=subprocess.DEVNULL) for _ in range(4)
        ]
        deadline = time.monotonic() + 40
        while len(server.accepted_at) < 95 and time.monotonic() < deadline:
            time.sleep(0.05)
        for worker in workers:
            worker.kill()
            worker.wait(60)
        assert {post.status for post in server.posts()} == {202}
        assert 95 <= len(server.accepted_at) <= 100


def test_a_redis_that_is_not_there_stops_nobody() -> None:
    """Nothing is sent before it is safe; flush gives up, and the process ends."""
    with StrictPandaProbe() as server:
        env = environment(server.url, PANDAPROBE_REDIS_URL="redis://127.0.0.1:1/0", PANDAPROBE_SHUTDOWN_TIMEOUT="1")
        code = SET_UP + '\none("lonely")\nprint(handle.flush(1.0), handle.status().spans_pending)'
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
        assert server.posts() == []
    assert done.returncode == 0
    assert done.stdout.split() == ["False", "2"]  # a trace of two spans
    assert "Traceback" not in done.stderr
