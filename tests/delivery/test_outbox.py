"""The outbox: order within a trace, independence between traces, the byte bound."""

from __future__ import annotations

import math
from dataclasses import replace

from pandaprobe_otel.delivery.outbox import Outbox
from pandaprobe_otel.delivery.outgoing_request import Step
from simulated_delivery import create


def test_nothing_of_a_trace_goes_before_what_stands_in_front() -> None:
    """An append is not offered while its create waits or is under way."""
    outbox = Outbox(1 << 20)
    outbox.put(create(1), 0.0)
    outbox.put(replace(create(1), step=Step.APPEND), 0.0)

    job = outbox.schedule.next_create(0.0)
    assert job is not None
    assert outbox.schedule.next_other(0.0) is None
    outbox.start(job, 0.0)
    assert outbox.schedule.next_create(0.0) is None
    assert outbox.schedule.next_other(0.0) is None
    outbox.finish(job, 0.0)
    assert outbox.schedule.next_other(0.0) is not None


def test_a_retried_job_waits_for_its_time_and_others_pass_it() -> None:
    """A trace that must wait does not delay the next one."""
    outbox = Outbox(1 << 20)
    outbox.put(create(1), 0.0)
    outbox.put(create(2), 0.0)
    first = outbox.schedule.next_create(0.0)
    assert first is not None
    outbox.start(first, 0.0)
    outbox.retry(first, 30.0)

    second = outbox.schedule.next_create(0.0)
    assert second is not None
    assert second is not first
    outbox.finish(second, 0.0)
    assert outbox.schedule.next_due() == (30.0, math.inf)


def test_a_request_larger_than_the_bound_is_given_back() -> None:
    """A request larger than the bound is returned, not kept."""
    outbox = Outbox(10_000)
    evicted = outbox.put(create(1, size=20_000), 0.0)

    assert [job.request.trace_id for job, _ in evicted] == [create(1).trace_id]
    assert (outbox.bytes, len(outbox)) == (0, 0)


def test_a_job_under_way_is_never_evicted() -> None:
    """A job under way is not evicted, since its outcome is still to come."""
    outbox = Outbox(10_000)
    outbox.put(create(1, size=6_000), 0.0)
    job = outbox.schedule.next_create(0.0)
    assert job is not None
    outbox.start(job, 0.0)
    evicted = outbox.put(create(2, size=6_000), 0.0)

    assert [gone.request.trace_id for gone, _ in evicted] == [create(2).trace_id]
    assert job in list(outbox)


def test_a_rare_name_is_not_starved_by_a_busy_one() -> None:
    """Names of traces take turns, however many traces wait for each name."""
    outbox = Outbox(1 << 20)
    for number in range(20):
        outbox.put(replace(create(number), name="busy"), 0.0)
    outbox.put(replace(create(99), name="rare"), 0.0)
    order = []
    for _ in range(3):
        job = outbox.schedule.next_create(0.0)
        assert job is not None
        outbox.start(job, 0.0)
        order.append(job.request.name)

    assert "rare" in order[:2]


def test_errors_go_first() -> None:
    """Traces with errors are sent first, since users look for them."""
    outbox = Outbox(1 << 20)
    for number in range(5):
        outbox.put(create(number), 0.0)
    outbox.put(create(9, is_error=True), 0.0)

    job = outbox.schedule.next_create(0.0)
    assert job is not None
    assert job.request.trace_id == create(9).trace_id


def test_the_newest_half_minute_goes_first_and_the_oldest_is_dropped_first() -> None:
    """If not everything can be sent, newer traces are sent first and older ones dropped first."""
    outbox = Outbox(4_500)
    outbox.put(create(1, size=700), 0.0)
    outbox.put(create(2, size=700), 40.0)
    evicted = outbox.put(create(3, size=700), 80.0)
    evicted += outbox.put(create(4, size=700), 80.0)
    job = outbox.schedule.next_create(80.0)

    assert [gone.request.trace_id for gone, _ in evicted] == [create(1).trace_id]
    assert job is not None
    assert job.request.trace_id in (create(3).trace_id, create(4).trace_id)


def test_an_outbox_that_keeps_everything_has_turns_for_the_oldest() -> None:
    """If new traces come faster than the limit, every fifth request is for the oldest trace."""
    outbox = Outbox(4_500, keeps_all=True)
    sent: list[str] = []
    for minute in range(20):
        for number in range(10):
            assert not outbox.put(create(minute * 10 + number, size=700), minute * 60.0)
        for _ in range(5):
            job = outbox.schedule.next_create(minute * 60.0)
            assert job is not None
            outbox.start(job, minute * 60.0)
            outbox.finish(job, minute * 60.0)
            sent.append(job.request.trace_id)

    assert outbox.fill == 1.0
    assert len(outbox) == 100
    assert {create(number).trace_id for number in range(10)} <= set(sent)
    assert sent[-1] >= create(190).trace_id


def test_independent_processes_prefer_the_same_traces() -> None:
    """Among traces of about the same time, the trace id decides the order, not the time of arrival."""
    orders = []
    for numbers in (range(10), reversed(range(10))):
        outbox = Outbox(1 << 20)
        for number in numbers:
            outbox.put(create(number), 0.0)
        order = []
        while (job := outbox.schedule.next_create(0.0)) is not None:
            outbox.start(job, 0.0)
            order.append(job.request.trace_id)
        orders.append(order)

    assert orders[0] == orders[1]
    assert len(orders[0]) == 10


def test_the_byte_and_job_counts_stay_true() -> None:
    """The byte and job counts match the outbox after any operations."""
    outbox = Outbox(20_000)
    for number in range(60):
        outbox.put(create(number, size=number * 20, spans=1 + number % 3), float(number))
        if number % 7 == 0 and (job := outbox.schedule.next_create(float(number))) is not None:
            outbox.start(job, float(number))
            outbox.retry(job, number + 3.0) if number % 2 else outbox.finish(job, float(number))

        assert outbox.bytes == sum(job.request.size for job in outbox) <= 20_000
        assert len(outbox) == len(list(outbox))
