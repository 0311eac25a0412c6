"""The first window of a fleet, with real processes, a real Redis and the real limiter."""

from __future__ import annotations

import subprocess
import sys

from pandaprobe_otel.delivery.budget import WINDOW_S
from pandaprobe_otel.delivery.spool.destination import Destination
from redis_server import RedisServer, require_redis
from strict_pandaprobe import StrictPandaProbe
from subprocesses import SET_UP, environment
from waiting import wait_until

WORKER = (
    "from pandaprobe_otel.delivery.fleet.redis_leases import RedisLeases\n"
    "RedisLeases.__init__.__kwdefaults__['answer_within_s'] = 60.0  # of a busy machine\n"
    + SET_UP
    + """
for _ in range(60):
    one("busy")
handle.flush(60)
"""
)


def test_four_processes_share_one_hundred() -> None:
    """Four processes with 60 traces each send 100 before any token comes back; none is refused."""
    require_redis()
    with RedisServer() as redis, StrictPandaProbe() as server:
        env = environment(server.url, PANDAPROBE_REDIS_URL=redis.url)
        key = Destination(endpoint=server.url, project="any", api_key=env["PANDAPROBE_API_KEY"]).key_digest
        with redis.client() as client:  # as if a fleet had used Redis before: an empty Redis lends no tokens at first
            client.hset(f"pandaprobe:{{{key}}}:fleet", "epoch", "one")
        workers = [
            subprocess.Popen([sys.executable, "-c", WORKER], env=env, stderr=subprocess.DEVNULL) for _ in range(4)
        ]
        wait_until(lambda: len(server.accepted_at) >= 100)
        in_time = sorted(server.accepted_at)[99] - server.accepted_at[0] < WINDOW_S
        for worker in workers:
            worker.kill()
            worker.wait(60)
        assert {post.status for post in server.posts()} == {202}
        assert in_time


def test_a_redis_that_is_not_there_stops_nobody() -> None:
    """A process without its Redis sends nothing; its flush returns False, and the process still ends."""
    with StrictPandaProbe() as server:
        env = environment(server.url, PANDAPROBE_REDIS_URL="redis://127.0.0.1:1/0", PANDAPROBE_SHUTDOWN_TIMEOUT="1")
        code = SET_UP + '\none("lonely")\nprint(handle.flush(1.0), handle.status().spans_pending)'
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
        assert server.posts() == []
    assert done.returncode == 0
    assert done.stdout.split() == ["False", "2"]  # a trace of two spans
    assert "Traceback" not in done.stderr
