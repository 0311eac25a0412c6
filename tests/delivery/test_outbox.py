"""The outbox: order within a trace, independence between traces, the byte bound."""

from __future__ import annotations

from dataclasses import replace

from pandaprobe_otel.delivery import Step
from pandaprobe_otel.delivery.outbox import MemoryOutbox
from simulated_delivery import create


def test_nothing_of_a_trace_goes_before_what_stands_in_front() -> None:
    """An append is not offered while its create waits or is under way."""
    outbox = MemoryOutbox(1 << 20)
    outbox.put(create(1), 0.0)
    outbox.put(replace(create(1), step=Step.APPEND), 0.0)

    job = outbox.next_create(0.0)
    assert job is not None
    assert outbox.next_other(0.0) is None
    outbox.start(job)
    assert outbox.next_create(0.0) is None
    assert outbox.next_other(0.0) is None
    outbox.finish(job, 0.0)
    assert outbox.next_other(0.0) is not None


def test_a_retried_job_waits_for_its_time_and_others_pass_it() -> None:
    """One trace that must wait does not hold up the next."""
    outbox = MemoryOutbox(1 << 20)
    outbox.put(create(1), 0.0)
    outbox.put(create(2), 0.0)
    first = outbox.next_create(0.0)
    assert first is not None
    outbox.start(first)
    outbox.retry(first, 30.0)

    second = outbox.next_create(0.0)
    assert second is not None
    assert second.parcel.trace_id == create(2).trace_id
    outbox.finish(second, 0.0)
    assert outbox.next_due() == (30.0, None)


def test_a_parcel_larger_than_the_bound_is_given_back() -> None:
    """What can never fit is the one that goes, not everything else."""
    outbox = MemoryOutbox(10_000)
    evicted = outbox.put(create(1, size=20_000), 0.0)

    assert [job.parcel.trace_id for job in evicted] == [create(1).trace_id]
    assert outbox.bytes == 0
    assert len(outbox) == 0


def test_what_is_under_way_is_never_evicted() -> None:
    """Its outcome is still to come, so it cannot be given up."""
    outbox = MemoryOutbox(10_000)
    outbox.put(create(1, size=6_000), 0.0)
    job = outbox.next_create(0.0)
    assert job is not None
    outbox.start(job)
    evicted = outbox.put(create(2, size=6_000), 0.0)

    assert evicted == []
    assert job in list(outbox)
