"""Gates, which close for a cause and open after a successful probe."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from pandaprobe_otel.delivery.blockage import AUTH, OUTAGE, Gate


def test_an_open_gate_lets_everything_through() -> None:
    """An open gate delays no request."""
    gate = Gate(AUTH)

    assert gate.enter(0.0)
    assert gate.enter(0.0)


def test_a_closed_gate_lets_one_probe_through_when_its_time_has_come() -> None:
    """A closed gate lets exactly one request through, which tests whether the cause is gone."""
    gate = Gate(AUTH)
    gate.close(0.0)

    assert not gate.enter(59.9)
    assert gate.enter(60.0)
    assert not gate.enter(60.1)


def test_each_failed_probe_doubles_the_wait_up_to_the_longest() -> None:
    """Each failed probe doubles the wait, up to the longest wait."""
    gate = Gate(AUTH)
    now, waits = 0.0, []
    for _ in range(8):
        gate.close(now)
        waits.append(gate.opens_at() - now)
        now = gate.opens_at()
        assert gate.enter(now)

    assert waits == [60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0, 3600.0]


def test_answers_to_requests_that_were_under_way_do_not_lengthen_the_wait() -> None:
    """Four failures at the same moment count as one."""
    gate = Gate(AUTH)
    for _ in range(4):
        gate.close(0.0)

    assert gate.opens_at() == 60.0


def test_an_outage_is_tried_for_again_within_a_quarter_of_its_age() -> None:
    """The wait between probes grows from two seconds to a minute, with jitter so that clients return apart."""
    drawn: list[tuple[float, float]] = []

    def draw(low: float, high: float) -> float:
        drawn.append((low, high))
        return high

    gate = Gate(OUTAGE, draw)
    for now in (0.0, 4.0, 20.0, 100.0, 1000.0):
        gate.close(now)
        assert gate.enter(gate.opens_at())

    assert drawn == [(1.0, 2.0), (1.0, 2.0), (2.5, 5.0), (12.5, 25.0), (30.0, 60.0)]


@given(
    down_s=st.floats(0.0, 200.0) | st.floats(0.0, 24 * 3600.0),
    drawn=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=9),
    answer_s=st.floats(0.0, 1.0),
)
def test_after_an_outage_of_any_length_the_server_is_found_again_soon(
    down_s: float, drawn: list[float], answer_s: float
) -> None:
    """A server is found again within a quarter of its outage and at most a minute, with few probes in an hour."""
    turn = itertools.cycle(drawn)
    gate = Gate(OUTAGE, lambda low, high: low + (high - low) * next(turn))
    gate.close(0.0)
    probes = [gate.opens_at()]
    while probes[-1] < down_s:
        assert gate.enter(probes[-1])
        gate.close(probes[-1] + answer_s)
        probes.append(gate.opens_at())

    assert probes[-1] - down_s <= max(2.0, min(60.0, 0.25 * (down_s + 1.0))) + 1.0
    assert all(sum(start <= at < start + 3600 for at in probes) <= 180 for start in probes[::50])


def test_an_opened_gate_starts_over() -> None:
    """After a success, the next cause waits as briefly as the first."""
    gate = Gate(AUTH)
    gate.close(0.0)
    assert gate.enter(60.0)
    gate.close(60.0)
    gate.open()
    gate.close(500.0)

    assert gate.opens_at() == 560.0
