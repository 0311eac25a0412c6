"""A server that is unreachable, fails, or refuses the key: the frequency of requests, and no lost trace. Simulated."""

from __future__ import annotations

import itertools
import logging
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pandaprobe_otel.transport.outcome import Answer, Outcome, Request
from simulated_world import Fate, Process, Response, Server, Way, World, simulated, simulation, trace_request

MINUTE, HOUR = 60.0, 3600.0


@pytest.mark.parametrize("takes_none", [False, True], ids=["away", "shows traces and takes none"])
def test_ten_minutes_without_a_server_cost_few_connections_and_no_trace(takes_none: bool) -> None:
    """At 60 traces a minute, an outage costs at most 40 connections, and all traces arrive 17 minutes after its end.

    If look-ups are answered and every POST fails, no trace is dropped as one that only fails itself.
    """
    process = simulated(
        lambda request, now: 500 if takes_none and request.method == "POST" and now < 10 * MINUTE else None
    )
    process.fate = lambda request, now: Fate.REFUSED if now < 10 * MINUTE and not takes_none else Fate.PASSES
    numbers = iter(range(10_000))
    process.world.every(1.0, lambda: process.put(trace_request(next(numbers), size=20_000)), until=10 * MINUTE)
    process.world.run(10 * MINUTE)

    assert len([request for _, request in process.sent if request.method == "POST"]) <= 40
    assert process.outbox.bytes <= 32 << 20
    process.world.run(17 * MINUTE)
    assert process.counts.ended >= 590
    assert (process.counts.pending, process.counts.dropped) == (0, {})
    assert len(process.server.span_ids()) == process.counts.ended
    assert process.server.posts(status=429) == []


def test_an_outage_beyond_the_memory_bound_is_counted_to_the_span() -> None:
    """After an outage of an hour, memory is within its bound, and the ledger and the next trace report the drops."""
    world, server, process = simulation(max_bytes=1 << 20, look_every_s=0.5)
    process.fate = lambda request, now: Fate.REFUSED if now < HOUR else Fate.PASSES
    numbers = iter(range(100_000))
    most = 0

    def offer() -> None:
        nonlocal most
        process.put(trace_request(next(numbers), size=20_000))
        most = max(most, process.outbox.bytes)

    world.every(1.0, offer, until=HOUR)
    world.run(HOUR)
    assert most <= 1 << 20
    assert process.is_balanced
    world.run(HOUR)

    counts = process.ledger.read()
    assert counts.pending == 0
    assert counts.delivered == len(server.span_ids()) > 40
    assert counts.ended - counts.delivered == counts.dropped["queue_full"] > 3_000
    reports = [trace.fields.get("metadata", {}).get("pandaprobe_otel.dropped", {}) for trace in server.traces.values()]
    assert sum(each.get("queue_full", 0) for each in reports) == counts.dropped["queue_full"]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_bursts_of_server_errors_lose_nothing(status: int) -> None:
    """Half a minute of server errors in every minute, for an hour, loses no trace."""
    world, server, process = simulation(seed=status)

    def bursts(request: Request, now: float) -> Outcome | None:
        return Answer(status=status, body=b"oops") if int(now / 30) % 2 and now < HOUR else None

    server.script = bursts
    numbers = iter(range(10_000))
    world.every(2.0, lambda: process.put(trace_request(next(numbers))), until=HOUR)
    world.run(2 * HOUR)

    counts = process.ledger.read()
    assert (counts.pending, counts.dropped) == (0, {})
    assert len(server.span_ids()) == counts.ended > 1_500
    posted = [len(trace.created_by) for trace in server.traces.values()]
    assert sum(posted) - len(posted) <= len(process.doubtful)


@settings(max_examples=40)
@given(
    fate=st.sampled_from([Fate.REFUSED, Fate.RESET_BEFORE]),
    traces=st.sampled_from([1, 20]),
    down_s=st.floats(5.0, 200.0) | st.floats(5.0, 24 * HOUR),
    seed=st.integers(0, 1000),
)
@example(fate=Fate.REFUSED, traces=1, down_s=26.0, seed=0)
def test_delivery_is_back_soon_after_the_server(fate: Fate, traces: int, down_s: float, seed: int) -> None:
    """After an outage, traces are sent within a quarter of its length and a minute, with few probes in any hour."""
    process = simulated(seed=seed)
    process.fate = lambda request, now: fate if now < down_s else Fate.PASSES
    for number in range(traces):
        process.put(trace_request(number))
    process.world.run(down_s)
    probes = [at for at, _ in process.sent]
    process.world.run(min(60.0, 0.25 * down_s) + 10)

    assert process.counts.pending == 0
    assert all(sum(start <= at < start + HOUR for at in probes) <= 180 for start in probes[::50])


def test_the_waits_of_an_outage_are_drawn_evenly() -> None:
    """Each wait is uniform between half of its bound and the whole bound (Kolmogorov-Smirnov, p > 0.01).

    The bound is a quarter of the outage so far, at least two seconds and at most a minute.
    """
    shares: list[float] = []
    for seed in range(60):
        world = World(seed)
        process = Process(world, Server(world), senders=1, way=Way(shortest_s=0.0, longest_s=1e-6))
        process.fate = lambda request, now: Fate.REFUSED
        for number in range(200):
            process.put(trace_request(number))
        world.run(150)
        times = [at for at, _ in process.sent]
        since = times[2]  # after the third failure in a row it is an outage
        for sooner, later in itertools.pairwise(times[2:]):
            bound = min(max((sooner - since) / 4, 2.0), 60.0)
            shares.append((later - sooner) / bound * 2 - 1)

    assert len(shares) > 300
    assert evenness(shares) > 0.01


def evenness(values: list[float]) -> float:
    """Return the p-value of the Kolmogorov-Smirnov test for uniformity from 0 to 1 (asymptotic series)."""
    ordered = sorted(values)
    n = len(ordered)
    distance = max(max((i + 1) / n - x, x - i / n) for i, x in enumerate(ordered))
    scaled = (math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n)) * distance
    return min(1.0, 2 * sum((-1.0) ** (k - 1) * math.exp(-2 * (k * scaled) ** 2) for k in range(1, 100)))


def test_a_trace_that_always_fails_does_not_hold_up_the_others() -> None:
    """A trace that always gets 500 is dropped after five tries, and the p95 of the others stays below 2 s."""
    world, server, process = simulation()
    poison = trace_request(30).trace_id.encode()

    def poisoned(request: Request, now: float) -> Outcome | None:
        return Answer(status=500, body=b"boom") if request.body and poison in request.body else None

    server.script = poisoned
    offered: dict[str, float] = {}
    numbers = iter(range(10_000))

    def offer() -> None:
        request = trace_request(next(numbers))
        offered[request.trace_id] = world.now
        process.put(request)

    world.every(1.0, offer, until=20 * MINUTE)
    world.run(30 * MINUTE)

    failed = server.posts(status=500)
    assert len(failed) == 5
    counts = process.ledger.read()
    assert counts.dropped == {"refused": 1}
    assert len(server.span_ids()) == counts.ended - 1
    waited = sorted(server.traces[key].visible_at - 0.2 - at for key, at in offered.items() if key in server.traces)
    assert waited[int(len(waited) * 0.95)] <= 2


@pytest.mark.parametrize(
    "answer",
    [401, 402, 403, 307, (422, {"detail": "Project scope required."}), (404, {"detail": "Not Found"})],
    ids=["401", "402", "403", "redirect", "project", "wrong URL"],
)
def test_refused_settings_are_tried_rarely_and_named_once(answer: Response, caplog: pytest.LogCaptureFixture) -> None:
    """Half an hour of refusals costs at most eight requests and one ERROR; every trace is sent afterwards."""
    process = simulated(lambda request, now: answer if now < 30 * MINUTE else None)
    numbers = iter(range(10_000))
    process.world.every(1.0, lambda: process.put(trace_request(next(numbers))), until=30 * MINUTE)
    process.world.run(30 * MINUTE)
    assert len(process.sent) <= 8
    tries = [at for at, _ in process.sent if at > 30]
    assert all(later - sooner >= 1.9 * (sooner - tries[0]) for sooner, later in itertools.pairwise(tries[:2]))
    assert [record.levelno for record in caplog.records] == [logging.ERROR]

    process.world.run(3 * HOUR)
    assert (process.counts.pending, process.counts.dropped) == (0, {})
    assert len(process.server.span_ids()) == process.counts.ended > 1_700
