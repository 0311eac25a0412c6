"""Traces that wait: their order, the bound on their memory, and the choice among more than can be sent. Simulated."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel.delivery.outbox import Names, randomness, randomness_of_uuid
from pandaprobe_otel.mapping.ids import trace_uuid
from simulated_world import Fate, Process, Way, id_of_chance, simulated, trace_request

MINUTE = 60.0
NUMBERS = {trace_request(number).trace_id: number for number in range(2000)}
FILLERS = range(1000, 1100)


def without_tokens(**options: Any) -> Process:
    """Return a process with one sender that has just used the whole limit."""
    process = simulated(senders=1, way=Way(longest_s=0.01), **options)
    for number in FILLERS:
        process.put(trace_request(number))
        process.world.run(0.02)
    return process


def sent_by(process: Process) -> list[int]:
    """Run until all is sent; return the numbers of the traces in the order of their posts."""
    process.world.run(5 * MINUTE)
    assert process.counts.pending == 0
    assert process.is_balanced
    return [NUMBERS[key] for key in process.server.traces if NUMBERS[key] not in FILLERS]


def test_the_newest_half_minute_goes_first_and_the_oldest_is_dropped_first() -> None:
    """If not everything can be sent, newer traces are sent first and older ones dropped first, errors last."""
    process = without_tokens(max_bytes=200_000)
    begun = process.world.now
    for number, at in enumerate((0.0, 0.0, 32.0, 33.0)):
        process.world.run(begun + at - process.world.now)
        process.put(trace_request(number, is_error=number == 0, size=60_000))

    assert sent_by(process) in ([0, 2, 3], [0, 3, 2])
    assert process.counts.dropped == {"queue_full": 1}


def test_a_queue_that_keeps_everything_has_turns_for_the_oldest() -> None:
    """A gateway drops nothing that it has acknowledged; every fifth request is for the oldest trace."""
    process = simulated(keeps_all=True, max_bytes=400_000)
    numbers = itertools.count()
    process.world.every(0.3, lambda: process.put(trace_request(next(numbers), size=700)), until=6 * MINUTE)
    process.world.run(6 * MINUTE)

    sent = [NUMBERS[key] for key in process.server.traces]
    assert process.counts.dropped == {}
    assert process.outbox.fill == 1.0
    assert set(range(130)) <= set(sent)
    assert max(sent) > 1000


def test_independent_processes_prefer_the_same_traces() -> None:
    """Among traces of about the same time, the trace id decides the order, not the time of arrival."""
    orders: list[list[int]] = []
    for numbers in (range(10), reversed(range(10))):
        process = without_tokens()
        for number in numbers:
            process.put(trace_request(number))
        orders.append(sent_by(process))

    assert orders[0] == orders[1]
    assert len(orders[0]) == 10


def test_a_trace_without_room_is_dropped_and_one_under_way_is_not() -> None:
    """A trace larger than the bound is dropped at once, as is one that would need the room of one under way."""
    process = simulated(max_bytes=10_000)
    for number, size in enumerate((20_000, 6_000, 6_001)):
        process.put(trace_request(number, size=size))
        process.world.run(0.001)

    assert sent_by(process) == [1]
    assert process.counts.dropped == {"queue_full": 2}


def test_requests_are_compressed_while_many_wait_and_arrive_unchanged() -> None:
    """While 20 MB wait, they take 5 MiB; each body arrives as it was, also spans whose root never comes."""
    process = simulated()
    process.fate = lambda request, now: Fate.REFUSED if now < MINUTE else Fate.PASSES
    requests = [trace_request(number, size=6_000, spans=number % 8) for number in range(900)]
    for request in requests:
        process.put(request)
    for batch in (1, 2):
        process.put(
            trace_request(1, trace_id=id_of_chance(0.9), step="append", is_remote=True, size=9_000, batch=batch)
        )
    assert process.outbox.bytes <= 5 << 20
    assert process.is_balanced
    process.world.run(20 * MINUTE)

    bodies = [post.body for post in process.server.posts()]
    assert process.counts.pending == 0
    assert process.counts.dropped == {}
    assert {request.body() for request in requests} <= set(bodies)
    (adopted,) = (trace for key, trace in process.server.traces.items() if key not in NUMBERS)
    assert [len(span["input"]) for span in adopted.spans.values()] == [9_000] * 2


# -- more than can be sent --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name_of", [lambda number: "busy", lambda number: f"name {number}"], ids=["one", "many"])
def test_the_whole_limit_is_used_under_overload(name_of: Callable[[int], str]) -> None:
    """At three times the limit, the whole limit is used, and slow traces are kept; the newer ones are in time."""
    process, numbers, slow = simulated(max_bytes=2 << 20), itertools.count(), list[str]()
    offered_at: dict[str, float] = {}

    def offer() -> None:
        number = next(numbers)
        seconds = 60.0 if number % 200 == 199 else 1.0
        request = trace_request(number, name=name_of(number), size=1000, duration_s=seconds)
        offered_at[request.trace_id] = process.world.now
        slow.extend([request.trace_id] if request.duration_s > 1 else [])
        process.put(request)

    process.world.every(0.2, offer, until=12 * MINUTE)
    process.world.run(12 * MINUTE)

    posts = process.server.posts(since=6 * MINUTE)
    waits = sorted(post.at - offered_at[orjson.loads(post.body or b"")["trace_id"]] for post in posts)
    assert len(posts) / 6 >= 98
    assert waits[len(waits) // 2] <= 30
    assert process.counts.dropped.keys() == {"queue_full"}
    if name_of(0) == name_of(1):  # a trace is slow for its name
        assert len(set(slow[:-1]) - process.server.traces.keys()) <= 1


SUSPENSIONS = st.tuples(st.integers(0, 9), st.floats(0.0, 0.1), st.floats(0.0, 1e6), st.integers(0, 9))


@settings(max_examples=60)
@given(times=st.lists(SUSPENSIONS, min_size=1, max_size=5))
def test_a_suspension_of_the_process_is_no_overload(times: list[tuple[int, float, float, int]]) -> None:
    """Traces that wait for a sender during a suspension, and those that come when the process resumes, are all kept."""
    process, numbers = simulated(way=Way(longest_s=0.01)), itertools.count()
    for before, sent_s, suspended_s, after in times:
        for _ in range(before):
            process.put(trace_request(next(numbers)))
        process.world.run(sent_s)
        process.world.skip(suspended_s)
        for _ in range(after):
            process.put(trace_request(next(numbers)))
        process.world.run(1.0)

    assert process.counts.dropped == {}


def test_the_randomness_is_that_of_w3c() -> None:
    """The lowest 56 bits of a trace id are its randomness, in every form of the id."""
    assert randomness(0xFF_FFFFFFFFFFFFFF) == randomness((1 << 56) - 1)
    assert randomness(1 << 56) == 0
    trace_id = 0x123456789ABCDEF0_80_123456789ABC_7F
    assert randomness_of_uuid(trace_uuid(trace_id)) == randomness(trace_id)
    assert 0.0 <= randomness_of_uuid("no uuid") < 1.0


def test_slow_is_relative_to_the_name() -> None:
    """A trace is slow if it takes long for its name; the first trace of a name is never slow."""
    names, rng = Names(), random.Random(1)

    def is_slow(name: str, duration_s: float) -> bool:
        parcel = trace_request(1, name=name, duration_s=duration_s)
        names.look_at(parcel, 0.0)
        return parcel.is_slow

    assert not any(is_slow("a", rng.uniform(0.8, 1.2)) for _ in range(500))
    assert is_slow("a", 10.0)
    assert not any(is_slow("b", 10.0) for _ in range(100))
    heavy = [is_slow("c", rng.lognormvariate(0, 1.5)) for _ in range(20_000)]
    assert 0.01 <= sum(heavy) / len(heavy) <= 0.03
