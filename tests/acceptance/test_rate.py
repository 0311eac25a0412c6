"""The rate limit: not exceeded, used up, and shared with other users of the key. Simulated time."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from pandaprobe_otel.transport.outcome import Outcome, Request
from pandaprobe_rules import QUOTA_BODY, Window
from simulated_world import Process, Response, Server, Way, World, most_in_a_window, simulation, trace_request

MINUTE, HOUR = 60.0, 3600.0


def accepted_a_minute(server: Server, minutes: float) -> float:
    """Return the accepted POST /traces per minute, after the first minute."""
    accepted = [post for post in server.posts(status=202) if MINUTE <= post.at < minutes * MINUTE]
    return len(accepted) / (minutes - 1)


def saturate(process: Process, traces: int) -> None:
    """Put this many traces at once."""
    for number in range(traces):
        process.put(trace_request(number))


@pytest.mark.parametrize("window", list(Window))
def test_one_saturated_process_uses_the_limit_and_is_never_refused(window: Window) -> None:
    """In an hour with 5 to 500 ms each way, 98.5 requests a minute go out without a 429, for every kind of window."""
    world, server, process = simulation(window=window)
    saturate(process, 6_200)
    world.run(HOUR)

    assert server.posts(status=429) == []
    assert accepted_a_minute(server, 60) >= 98.5
    assert most_in_a_window([post.at for post in server.posts()]) == 100
    assert process.is_balanced


def test_a_client_that_ignores_429_on_the_same_key_leaves_us_the_rest() -> None:
    """If another client uses 50 requests a minute, this process is refused at most once a minute and loses nothing."""
    world, server, process = simulation()
    theirs = iter(range(1_000_000, 2_000_000))

    def other_client() -> None:
        body = b'{"trace_id":"%d","spans":[]}' % next(theirs)
        server.handle(Request(method="POST", path="/traces", body=body), "other")

    world.every(MINUTE / 50, other_client)
    saturate(process, 8_000)
    world.run(80 * MINUTE)

    since = 20 * MINUTE
    assert len(server.posts("ours", status=429, since=since)) / 60 <= 1
    assert len(server.posts(status=202, since=since)) / 60 >= 93
    assert process.ledger.read().dropped == {}
    assert process.is_balanced


@pytest.mark.parametrize("refused_at", range(5, 60, 5))
def test_a_window_that_another_process_has_filled_is_found_open_soon_after_it_is(refused_at: int) -> None:
    """A process resumes within 26 s after a window filled by others reopens, and within 62 s after its refusal."""
    world = World(refused_at)
    server = Server(world)
    for number in range(100):
        server.handle(Request(method="POST", path="/traces", body=b'{"trace_id":"%d","spans":[]}' % number), "other")
    process = Process(world, server)
    world.run(refused_at)
    saturate(process, 60)
    world.run(5 * MINUTE)

    begins = server.posts("ours", status=202)[0].at
    assert begins <= min(MINUTE + 26, refused_at + MINUTE + 2)
    assert len(server.posts("ours", status=429)) <= 8
    assert process.ledger.read().delivered == 60


@pytest.mark.parametrize("count", [2, 5, 20])
def test_processes_with_one_key_and_no_common_budget_use_it_and_are_rarely_refused(count: int) -> None:
    """Without a shared budget, a process is refused at most three times a minute, and most of the limit is used."""
    world = World(count)
    server = Server(world)
    processes = [Process(world, server, name=f"process {number}") for number in range(count)]
    for index, process in enumerate(processes):
        for number in range(4_000 // count):
            process.put(trace_request(index * 10_000 + number))
    world.run(30 * MINUTE)

    assert len(server.posts(status=429)) / count / 30 <= 3
    assert len(server.posts(status=202)) / 30 >= 85
    assert min(len(server.posts(process.name, status=202)) for process in processes) >= 30 * 100 / count / 6
    assert all(process.is_balanced for process in processes)


def seven_seconds(now: float) -> Mapping[str, str]:
    """Return Retry-After in seconds."""
    return {"retry-after": "7"}


def in_a_while(now: float) -> Mapping[str, str]:
    """Return Retry-After as a date, by a clock that is a day off."""
    date = datetime(2031, 1, 1, tzinfo=UTC) + timedelta(days=1, seconds=now)
    return {
        "date": format_datetime(date, usegmt=True),
        "retry-after": format_datetime(date + timedelta(seconds=20), usegmt=True),
    }


@pytest.mark.parametrize(
    ("headers", "most_requests", "longest_pause"),
    [
        (lambda now: {}, 12, 240 * 1.25),
        (seven_seconds, 4 + 600 / 7, 7.0),
        (in_a_while, 4 + 600 / 20, 21.0),
        (lambda now: {"retry-after": "-1"}, 12, 240 * 1.25),
        (lambda now: {"retry-after": "abc"}, 12, 240 * 1.25),
        (lambda now: {"retry-after": "1e9"}, 5, HOUR),
    ],
    ids=["none", "7", "date", "-1", "abc", "1e9"],
)
def test_a_storm_of_429_is_waited_out_with_one_probe_at_a_time(
    headers: Any, most_requests: float, longest_pause: float, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten minutes of 429 cause few requests, one at a time, and one log line; every trace arrives soon after."""
    world, server, process = simulation(rate_headers=headers)
    storm_ends = 10 * MINUTE

    def storm(request: Request, now: float) -> Outcome | None:
        is_create = (request.method, request.path) == ("POST", "/traces")
        return server.rate_limited() if is_create and now < storm_ends else None

    server.script = storm
    saturate(process, 90)
    world.run(5)
    process.most_in_flight = 0
    world.run(storm_ends - 5)
    during = server.posts()
    assert process.most_in_flight <= 1
    assert len(during) <= most_requests
    assert ["limits the rate" in line for line in caplog.messages] == [True]

    world.run(longest_pause + 2 * MINUTE)
    after = server.posts(since=storm_ends)
    assert after[0].at - storm_ends <= longest_pause + 2
    assert process.ledger.read().delivered == 90


def test_a_used_up_quota_is_probed_rarely_and_appends_still_flow(caplog: pytest.LogCaptureFixture) -> None:
    """An hour of 429 with `detail` causes at most four POST /traces and one ERROR, and every trace is sent later."""
    world, server, process = simulation()
    numbers = iter(range(10_000))
    world.every(MINUTE / 6, lambda: process.put(trace_request(next(numbers))), until=80 * MINUTE)
    world.run(10 * MINUTE)
    assert len(server.posts(status=202)) > 50
    begins, ends = world.now, world.now + HOUR

    def no_quota(request: Request, now: float) -> Response | None:
        is_create = (request.method, request.path) == ("POST", "/traces")
        return (429, QUOTA_BODY) if is_create and now < ends else None

    server.script = no_quota
    caplog.clear()
    world.run(30 * MINUTE)
    process.put(trace_request(0, step="append", batch=1))
    world.run(1)
    assert f"{trace_request(0).trace_id}/1/0" in server.span_ids()
    world.run(30 * MINUTE - 2)
    assert len(server.posts(since=begins)) <= 4
    assert [record.levelno for record in caplog.records] == [logging.ERROR]

    world.run(3 * HOUR)
    counts = process.ledger.read()
    assert (counts.pending, counts.dropped) == (0, {})
    assert len(server.span_ids()) == counts.ended == counts.delivered


@pytest.mark.parametrize("rate", [0.9995, 1.0, 1.0005])
def test_a_clock_that_is_off_by_500_ppm_costs_neither_a_429_nor_time(rate: float) -> None:
    """With a clock 500 ppm off, no request is refused, no wait exceeds a window, and no loop spins."""
    world, server, process = simulation(way=Way(shortest_s=0.001, longest_s=0.01), clock_rate=rate)
    saturate(process, 3_100)
    world.run(30 * MINUTE)

    assert server.posts(status=429) == []
    sent = [at for at, _ in process.sent]
    assert max(later - sooner for sooner, later in itertools.pairwise(sent)) <= 65
    assert process.looks <= 3 * len(process.sent) + 3_100
    assert not math.isinf(sent[-1])
