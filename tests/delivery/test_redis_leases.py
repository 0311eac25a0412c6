"""A fleet with a real Redis: how many tokens are lent, for how long, and what follows after Redis lost its data."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from pandaprobe_otel.delivery.budget import WINDOW_S
from pandaprobe_otel.delivery.redis_tokens import FleetUnreachableError, RedisLeases
from pandaprobe_otel.delivery.spool.destination import Destination
from redis_model import ModelLeases, ModelRedis
from redis_server import RedisServer, require_redis
from strict_pandaprobe import StrictPandaProbe
from subprocesses import SET_UP, environment
from waiting import PATIENCE_S, wait_until


@pytest.fixture(scope="module")
def running() -> Iterator[RedisServer]:
    """Start one Redis for all tests of this file."""
    require_redis()
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis(running: RedisServer) -> RedisServer:
    """Return the running Redis with only an epoch in it: without one, it lends nothing for six seconds."""
    with running.client() as client:
        client.flushall()
        client.hset("pandaprobe:{k}:fleet", "epoch", "1")
    return running


class Clock:
    """A clock for Redis and the processes, which stands until a test moves it."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Timed(RedisLeases):
    """Leases whose scripts read the test's clock; a reply may take any time."""

    def __init__(self, redis: RedisServer, clock: Clock) -> None:
        super().__init__(redis.url, "k", answer_within_s=PATIENCE_S)
        self._clock = clock

    def _script(self, text: str) -> Any:
        return super()._script(text.replace("redis.call('TIME')", f"{{{self._clock.now:.6f}, 0}}"))


class Fleet:
    """Connections to Redis with one clock, closed at the end."""

    def __init__(self, redis: RedisServer) -> None:
        self.clock = Clock()
        self._redis = redis
        self._places: list[Timed] = []

    def process(self) -> Timed:
        """Return the connection of a new process."""
        place = Timed(self._redis, self.clock)
        self._places.append(place)
        return place

    def close(self) -> None:
        """Close all connections."""
        for place in self._places:
            place.close()


@pytest.fixture
def fleet(redis: RedisServer) -> Iterator[Fleet]:
    """Yield a fleet for one test."""
    made = Fleet(redis)
    yield made
    made.close()


def take(place: RedisLeases, most: int = 3) -> int:
    """Take a token, which must be available."""
    token = place.take(most).token
    assert token is not None
    return token


def test_nothing_stays_in_redis_for_ever(fleet: Fleet, redis: RedisServer) -> None:
    """Every key has a time to live, and all keys are in one slot of a cluster."""
    from redis.crc import key_slot

    take(fleet.process())
    with redis.client() as client:
        keys = client.keys("pandaprobe:{k}:*")
        assert len(keys) == 2
        assert all(0 < client.ttl(key) <= 30 * 86_400 for key in keys)
        assert len({key_slot(key.encode()) for key in keys}) == 1


def test_a_redis_that_hangs_or_is_something_else(fleet: Fleet, redis: RedisServer) -> None:
    """A silent server, a full memory and keys of another type all raise `FleetUnreachableError`."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = RedisLeases(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", "k")
        with pytest.raises(FleetUnreachableError):
            place.take(1)
        place.close()
    place = fleet.process()
    with redis.client() as client:
        client.set("pandaprobe:{k}:leases", "a text")
    with pytest.raises(FleetUnreachableError, match="WRONGTYPE"):
        place.take(1)


@pytest.mark.outer
def test_no_span_is_made_of_the_calls(fleet: Fleet, redis: RedisServer) -> None:
    """An app that traces its Redis calls records no span of this library's calls."""
    from opentelemetry.instrumentation.redis import RedisInstrumentor

    from span_recorder import SpanRecorder

    recorder = SpanRecorder()
    RedisInstrumentor().instrument(tracer_provider=recorder.provider)
    try:
        place = fleet.process()
        place.put_back(take(place), 1.0)
        assert recorder.names == []
        with redis.client() as client:
            client.ping()
        assert recorder.names == ["PING"]
    finally:
        RedisInstrumentor().uninstrument()


@pytest.mark.parametrize("seed", range(3))
def test_the_model_does_what_the_scripts_do(fleet: Fleet, redis: RedisServer, seed: int) -> None:
    """The simulated Redis gives the same tokens and waits as the scripts, for five processes over hours."""
    with redis.client() as client:
        client.flushall()
    rng = random.Random(seed)
    model = ModelRedis()
    clock = fleet.clock
    ours = [fleet.process() for _ in range(5)]
    theirs = [ModelLeases(model) for _ in range(5)]
    out = [dict[int, int]() for _ in range(5)]
    lent = 0
    for _ in range(400):
        clock.now += rng.choice([0.001, 0.5, 2.0, 7.0, 20.0] if rng.random() < 0.97 else [40.0, 100.0, 300.0])
        number = rng.randrange(5)
        model.now = clock.now
        real, simulated = ours[number], theirs[number]
        action = rng.random()
        if action < 0.8:
            most = rng.choice([100, 20, 5])
            one, other = real.take(most), simulated.take(most)
            assert (one.token is None) == (other.token is None)
            assert one.wait_s == pytest.approx(other.wait_s, abs=0.01)
            if one.token is not None and other.token is not None:
                out[number][one.token] = other.token
                lent += 1
        elif action < 0.98 and out[number]:
            token, same = out[number].popitem()
            real.put_back(token, 60.1)
            simulated.put_back(same, 60.1)
        elif action >= 0.98:
            with redis.client() as client:
                client.flushall()
            model.forget()
    assert lent > 50


WORKER = (
    "from pandaprobe_otel.delivery.redis_tokens import RedisLeases\n"
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
            client.hset(f"pandaprobe:{{{key}}}:fleet", "epoch", "1")
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
