"""Spans whose root is in another process: they follow its trace, become a trace of their own, or are left out."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pandaprobe_otel.delivery.budget import Tokens
from pandaprobe_otel.delivery.parcel import Parcel
from simulated_world import Process, Server, Way, World, simulated, trace_request

MINUTE = 60.0


def orphan(number: int, *, batch: int = 1, is_error: bool = False) -> Parcel:
    """Return spans whose root is elsewhere."""
    return trace_request(number, step="append", is_remote=True, batch=batch, is_error=is_error)


class UsedTokens(Tokens):
    """Shared tokens, of which other processes use all until a time."""

    def __init__(self, until: float) -> None:
        super().__init__()
        self._until = until

    def take(self, most: int, now: float) -> int | None:
        """Lend a token."""
        return None if now < self._until else super().take(most, now)

    def next_free(self, most: int, now: float) -> float:
        """Return the time at which a token is free."""
        return max(self._until, super().next_free(most, now))


def test_services_of_a_trace_leave_out_the_same() -> None:
    """Two services get three times the limit for twelve minutes, and keep and drop the same traces.

    Each trace has its root in the first service and one span in the second.
    """
    world = World()
    server = Server(world)
    tokens = Tokens()
    way = Way(shortest_s=0.005, longest_s=0.05)
    front = Process(world, server, name="front", tokens=tokens, way=way, max_bytes=200_000)
    back = Process(world, server, name="back", tokens=tokens, way=way)
    offered = itertools.count()

    def request() -> None:
        number = next(offered)
        front.put(trace_request(number, is_error=number % 100 == 0))
        back.put(trace_request(number, step="append", is_remote=True, batch=1))

    world.every(MINUTE / 300, request, until=12 * MINUTE)
    world.run(80 * MINUTE)

    kept = [trace for trace in server.traces.values() if trace.created_by == ["front"]]
    whole = sum(len(trace.spans) == 2 for trace in kept)
    assert whole == len(kept)
    assert len(server.traces) - len(kept) <= 0.01 * len(kept)
    assert front.counts.dropped == {"queue_full": front.counts.ended - len(kept)}
    assert back.counts.dropped["overload"] >= 0.97 * front.counts.dropped["queue_full"]
    assert front.counts.pending == back.counts.pending == 0


@pytest.mark.parametrize("keeps_all", [False, True])
@pytest.mark.parametrize(
    ("crowded_for_s", "is_error", "decided_after_s"),
    [(0, False, 300), (250, False, 300), (1000, False, 1000), (7000, False, 3600), (7000, True, 3600)],
)
def test_spans_without_a_root_are_adopted_unless_others_may_have_left_out_the_trace(
    crowded_for_s: int, is_error: bool, decided_after_s: int, keeps_all: bool
) -> None:
    """They wait for five minutes, or an hour during an overload, and then follow a trace that was left out.

    An error is adopted nevertheless; a gateway has acknowledged them and adopts them all.
    """
    process = simulated(tokens=UsedTokens(crowded_for_s), keeps_all=keeps_all)
    process.put(orphan(1, is_error=is_error))
    process.world.run(decided_after_s - 1)
    assert process.counts.pending == 1
    process.world.run(2 * 3600)

    is_adopted = not crowded_for_s or is_error or keeps_all
    assert (process.counts.delivered, process.counts.dropped) == ((1, {}) if is_adopted else (0, {"overload": 1}))


@pytest.mark.parametrize("crowded_for_s", [0, 60])
def test_the_end_of_a_process_decides_about_spans_without_a_root_at_once(crowded_for_s: int) -> None:
    """A process that ends adopts the spans whose root has not come, or leaves them out as others do."""
    process = simulated(tokens=UsedTokens(crowded_for_s))
    process.policy.closing = True
    process.put(orphan(1))
    process.world.run(5)

    left_out = {"overload": 1} if crowded_for_s else {}
    assert (process.counts.delivered, process.counts.dropped) == (not left_out, left_out)


@settings(max_examples=30)
@given(comes_at=st.floats(0.0, 295.0), waits_s=st.floats(0.0, 60.0), lag_s=st.floats(0.0, 60.0))
@example(comes_at=260.0, waits_s=40.0, lag_s=3.0)
def test_spans_follow_a_root_that_comes_before_their_adoption(comes_at: float, waits_s: float, lag_s: float) -> None:
    """After their root has come, spans wait for its trace and are not adopted, even if the trace comes late."""
    process = simulated(persist_lag_s=lag_s, way=Way(longest_s=0.01), senders=100)
    process.put(orphan(1))
    process.world.run(max(comes_at - (60 - waits_s), 0.0))
    for number in range(100, 200):
        process.put(trace_request(number))
    process.world.run(max(comes_at - process.world.now, 0.1))
    process.put(trace_request(1))
    process.world.run(500)

    assert len(process.server.posts()) == len(process.server.traces) == 101
    assert len(process.server.traces[trace_request(1).trace_id].spans) == 2
