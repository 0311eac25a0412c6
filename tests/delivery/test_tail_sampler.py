"""The choice of traces to keep while more arrive than can be sent, for minutes."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest, Step
from pandaprobe_otel.delivery.randomness import randomness, randomness_of_uuid
from pandaprobe_otel.delivery.tail_sampler import Arrivals, Slowness, TailSampler
from pandaprobe_otel.mapping.ids import trace_uuid
from simulated_delivery import SimulatedDelivery, create
from simulated_world import simulated_id

MINUTE = 60.0


class Overloaded:
    """A sampler before a queue for 3000 traces, from which `goes` traces a minute are sent."""

    ROOM = 3000

    def __init__(self, *, offered: float, goes: float = 100.0, seed: int = 1) -> None:
        self.sampler = TailSampler()
        self.waiting = 0
        self._tokens = 0.0
        self.now = 0.0
        self._offered, self._goes = offered, goes
        self._random = random.Random(seed)
        self.kept: list[tuple[float, OutgoingRequest, float]] = []
        self.seen: list[tuple[float, OutgoingRequest]] = []

    def run(self, minutes: float, *, blocked: bool = False, **traits: float) -> None:
        """Offer traces at an even pace; `traits` are the fractions with `errors`, `slow` and `rare`."""
        for _ in range(int(self._offered * minutes)):
            self.now += MINUTE / self._offered
            self._send(0.0 if blocked else self._goes / self._offered)
            request = self._request(**traits)
            self.seen.append((self.now, request))
            fill = self.waiting / self.ROOM
            if self.waiting:
                chance = self.sampler.chance(request, waiting=self.waiting, fill=fill, blocked=blocked, now=self.now)
            else:
                chance = self.sampler.calm(request, self.now)
            if chance:
                self.kept.append((self.now, request, chance))
                self.waiting = min(self.waiting + 1, self.ROOM)

    def _send(self, traces: float) -> None:
        self._tokens = min(self._tokens + traces, self._goes)
        while self.waiting and self._tokens >= 1:
            self.waiting -= 1
            self._tokens -= 1
            self.sampler.sent()

    def _request(self, errors: float = 0.0, slow: float = 0.0, rare: float = 0.0) -> OutgoingRequest:
        number = self._random.getrandbits(60)
        return OutgoingRequest(
            step=Step.CREATE,
            trace_id=simulated_id(number),
            name=f"rare {number}" if self._random.random() < rare else "busy",
            is_error=self._random.random() < errors,
            is_slow=self._random.random() < slow,
        )


def share(run: Overloaded, since: float, **traits: object) -> float:
    """Return the kept fraction of the traces with these traits offered since that time."""

    def matches(request: OutgoingRequest) -> bool:
        return all(getattr(request, name) == value for name, value in traits.items())

    kept = sum(matches(request) for at, request, _ in run.kept if at >= since)
    return kept / sum(matches(request) for at, request in run.seen if at >= since)


def test_a_burst_is_kept_whole() -> None:
    """A burst of ten times the limit for a minute and a half only delays traces, and drops none."""
    run = Overloaded(offered=1000)
    run.run(1.5)
    assert len(run.kept) == len(run.seen)
    assert run.sampler.others.cut == 0


@pytest.mark.parametrize("offered", [200, 1000, 2000])
def test_the_kept_share_follows_the_limit(offered: int) -> None:
    """From the tenth minute on, 85 to 105 traces a minute are kept, at a limit of 100."""
    run = Overloaded(offered=offered)
    run.run(30)
    kept = sum(at >= 10 * MINUTE for at, _, _ in run.kept) / 20
    assert 85 <= kept <= 105
    assert run.waiting >= 500
    weight = sum(1 / chance for _, _, chance in run.kept)
    assert weight == pytest.approx(len(run.seen), rel=0.05)


def test_below_the_limit_nothing_is_left_out_after_an_outage() -> None:
    """Below the limit no trace is dropped, even while 5,000 traces of an outage wait."""
    run = Overloaded(offered=80)
    run.run(60, blocked=True)
    run.run(120)
    assert len(run.kept) == len(run.seen)


def test_errors_slow_ones_and_first_ones_are_kept() -> None:
    """Errors, slow traces and the first of each name are all kept while they are few, at twenty times the limit."""
    run = Overloaded(offered=2000)
    run.run(10, errors=0.02, slow=0.002, rare=0.002)
    since = 5 * MINUTE
    assert share(run, since, is_error=True) == 1
    assert share(run, since, is_slow=True, is_error=False) >= 0.9
    rare = Counter(request.name == "busy" for at, request, _ in run.kept if at >= since and not request.is_error)
    seen = sum(request.name != "busy" and not request.is_error for at, request in run.seen if at >= since)
    assert rare[False] / seen >= 0.9
    assert share(run, since, name="busy", is_error=False, is_slow=False) < 0.06


def test_names_that_never_come_again_use_the_whole_limit() -> None:
    """If every trace has a new name, none is preferred, and the whole limit is used."""
    run = Overloaded(offered=500)
    run.run(30, rare=1.0)
    assert sum(at >= 20 * MINUTE for at, _, _ in run.kept) / 10 == pytest.approx(100, rel=0.1)


def test_two_processes_agree() -> None:
    """If two processes get the same traces, the less busy one keeps all traces that the busier one keeps."""
    busy, calm = Overloaded(offered=1000, goes=50), Overloaded(offered=1000, goes=200)
    for run in (busy, calm):
        run.run(30)
    since = 15 * MINUTE
    few, many = ({request.trace_id for at, request, _ in run.kept if at >= since} for run in (busy, calm))
    assert len(few) * 2 < len(many)
    assert len(few - many) <= 0.02 * len(few)  # the cutoffs move a little, at different moments


def test_a_cut_fits_what_was_sampled_before_by_the_same_randomness() -> None:
    """A cutoff keeps the right share of traces that were sampled before by the same randomness: here, half of them."""
    flow, rng = Arrivals(0.0), random.Random(1)
    values = [rng.uniform(0.9, 1.0) for _ in range(2000)]
    for number, value in enumerate(values):
        flow.count(number * 0.06)
        flow.seen.append(value)
    flow.limit(flow.per_minute(120.0) / 2, 120.0)
    assert sum(value >= flow.cut for value in values) / len(values) == pytest.approx(0.5, abs=0.05)


def test_the_randomness_is_that_of_w3c() -> None:
    """The lowest 56 bits of a trace id are its randomness, in every form of the id."""
    assert randomness(0xFF_FFFFFFFFFFFFFF) == randomness((1 << 56) - 1)
    assert randomness(1 << 56) == 0
    trace_id = 0x123456789ABCDEF0_80_123456789ABC_7F
    assert randomness_of_uuid(trace_uuid(trace_id)) == randomness(trace_id)
    assert 0.0 <= randomness_of_uuid("no uuid") < 1.0


def test_slow_is_what_is_slow_for_its_name() -> None:
    """A trace is slow if it takes long for its name; the first trace of a name is never slow."""
    slowness, rng = Slowness(), random.Random(1)
    usual = [slowness.is_slow("a", rng.uniform(0.8, 1.2)) for _ in range(500)]
    assert sum(usual) == 0
    assert slowness.is_slow("a", 10.0)
    assert not slowness.is_slow("b", 10.0)
    assert not any(slowness.is_slow("b", 10.0) for _ in range(100))
    heavy = [slowness.is_slow("c", rng.lognormvariate(0, 1.5)) for _ in range(20_000)]
    assert 0.01 <= sum(heavy) / len(heavy) <= 0.03


SUSPENSIONS = st.tuples(st.integers(0, 9), st.floats(0.0, 0.1), st.floats(0.0, 1e6), st.integers(0, 9))


@settings(max_examples=60)
@given(times=st.lists(SUSPENSIONS, min_size=1, max_size=5))
def test_a_suspension_of_the_process_is_no_overload(times: list[tuple[int, float, float, int]]) -> None:
    """Traces that wait for a sender during a suspension, and those that come when the process resumes, are all kept."""
    delivery, numbers = SimulatedDelivery(request_s=0.01), itertools.count()
    for before, sent_s, suspended_s, after in times:
        for _ in range(before):
            delivery.put(create(next(numbers)))
        delivery.run(sent_s)
        delivery.now += suspended_s
        for _ in range(after):
            delivery.put(create(next(numbers)))
        delivery.run(1.0)

    assert delivery.policy.kept_share == 1.0
    assert delivery.ledger.read().dropped == {}
