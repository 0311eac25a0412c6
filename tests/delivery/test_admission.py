"""A trace of two services under overload: both services keep it, or both drop it."""

from __future__ import annotations

import math
from dataclasses import replace

from pandaprobe_otel.delivery.admission import ADOPT_AFTER_S, ADOPT_LATE_S, Admission, Fate
from pandaprobe_otel.delivery.blockage import Blockage
from pandaprobe_otel.delivery.budget import CUT_COUNTS_S, LeasedBucket, MemoryTokens
from pandaprobe_otel.delivery.job import Job
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.outbox import Outbox
from pandaprobe_otel.delivery.outgoing_request import Step
from simulated_world import Process, Server, Way, World, trace_request

MINUTE = 60.0


class SharedTokens(MemoryTokens):
    """One set of tokens and one highest cutoff, shared by processes as through Redis or a file."""

    def __init__(self) -> None:
        super().__init__()
        self.cut, self.until = 0.0, math.inf

    def publish_cutoff(self, cut: float, now: float) -> float:
        if now >= self.until:
            self.cut = 0.0
        if cut and cut >= self.cut:
            self.cut, self.until = cut, now + CUT_COUNTS_S
        return self.cut


def test_services_of_a_trace_leave_out_the_same() -> None:
    """Two services get three times the limit for twenty minutes, and keep and drop the same traces.

    Each trace has its root in the first service and one span in the second.
    """
    world = World()
    server = Server(world)
    tokens = SharedTokens()
    way = Way(shortest_s=0.005, longest_s=0.05)
    front, back = (Process(world, server, name=name, tokens=tokens, way=way) for name in ("front", "back"))
    offered = iter(range(1_000_000))

    def request() -> None:
        number = next(offered)
        front.put(trace_request(number, is_error=number % 100 == 0))
        back.put(trace_request(number, step=Step.APPEND, is_remote=True, batch=1))

    world.every(MINUTE / 300, request, until=20 * MINUTE)
    world.run(20 * MINUTE)
    assert tokens.cut > 0.5
    world.run(90 * MINUTE)

    front_counts, back_counts = front.ledger.read(), back.ledger.read()
    kept = [trace for trace in server.traces.values() if trace.created_by == ["front"]]
    whole = sum(len(trace.spans) == 2 for trace in kept)
    assert len(server.traces) - len(kept) <= 0.01 * len(kept)  # cutoffs move while traces arrive
    assert whole >= 0.97 * len(kept)
    assert front_counts.dropped == {"overload": front_counts.ended - len(kept)}
    assert back_counts.dropped["overload"] >= 0.97 * front_counts.dropped["overload"]
    assert front_counts.pending == back_counts.pending == 0


def admission_with(tokens: MemoryTokens, *, keeps_all: bool = False) -> Admission:
    """Return an admission that takes these tokens."""
    notices = Notices(lambda: 0.0)
    return Admission(
        outbox=Outbox(1 << 20, keeps_all=keeps_all),
        bucket=LeasedBucket(tokens=tokens),
        ledger=Ledger(),
        notices=notices,
        blockage=Blockage(notices),
        project="p",
    )


def fate(admission: Admission, chance: float, waited_s: float, **how: bool) -> Fate:
    """Return the fate of the spans of a trace with this randomness."""
    number = int(chance * (1 << 56))
    trace_id = f"00000000-0000-0000-00{number >> 48:02x}-{number & ((1 << 48) - 1):012x}"
    request = replace(trace_request(1, step=Step.APPEND, is_remote=True, is_error=how.pop("is_error", False)))
    ways = {"is_strange": False, "closing": False, **how}
    return admission.fate(Job(replace(request, trace_id=trace_id)), waited_s, 0.0, **ways)


def test_spans_that_others_leave_out_are_not_adopted() -> None:
    """Below a cutoff of one half, only spans with errors are adopted; above it, spans wait longer for their root."""
    tokens = SharedTokens()
    tokens.cut = 0.5
    admission = admission_with(tokens)
    assert fate(admission, 0.4, ADOPT_AFTER_S - 1) is Fate.WAIT
    assert fate(admission, 0.4, ADOPT_AFTER_S) is Fate.LEAVE_OUT
    assert fate(admission, 0.4, ADOPT_LATE_S, is_error=True) is Fate.ADOPT
    assert fate(admission, 0.6, ADOPT_AFTER_S) is Fate.WAIT
    assert fate(admission, 0.6, ADOPT_LATE_S) is Fate.ADOPT
    assert fate(admission, 0.6, 0.0, closing=True) is Fate.ADOPT
    assert fate(admission, 0.4, 0.0, closing=True) is Fate.LEAVE_OUT
    assert fate(admission, 0.6, 0.0, is_strange=True) is Fate.ADOPT


def test_acknowledged_spans_are_adopted() -> None:
    """A gateway has acknowledged the spans, so it adopts them even if other processes drop the rest."""
    tokens = SharedTokens()
    tokens.cut = 0.5
    admission = admission_with(tokens, keeps_all=True)
    assert fate(admission, 0.4, ADOPT_AFTER_S) is Fate.WAIT
    assert fate(admission, 0.4, ADOPT_LATE_S) is Fate.ADOPT
    assert fate(admission, 0.4, 0.0, closing=True) is Fate.ADOPT


def test_without_overload_five_minutes_are_enough() -> None:
    """Without overload, spans are adopted after the usual five minutes."""
    admission = admission_with(MemoryTokens())
    assert fate(admission, 0.0, ADOPT_AFTER_S - 1) is Fate.WAIT
    assert fate(admission, 0.0, ADOPT_AFTER_S) is Fate.ADOPT
    assert fate(admission, 0.0, 0.0, is_strange=True) is Fate.ADOPT
