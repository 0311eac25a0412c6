"""Tokens in a file: shared by processes, kept over restarts, and harmless when damaged."""

from __future__ import annotations

import math
import random
import struct
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel.delivery.budget import Lease, LeasedBucket
from pandaprobe_otel.delivery.spool.lease_file import FileTokens
from simulated_world import most_in_a_window
from suspended_processes import suspended_at_random


class Machine:
    """A simulated machine with one clock for all buckets; only the boot clock counts the time it sleeps."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 1000.0
        self.slept = 0.0

    def bucket(self, capacity: int = 100) -> LeasedBucket:
        """Return the bucket of a new process."""
        tokens = FileTokens(self.path, clock=self.boot_clock)
        return LeasedBucket(capacity=capacity, tokens=tokens, clock=self.boot_clock)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def boot_clock(self) -> float:
        """Return the time, including sleep."""
        return self.now + self.slept

    def take_all(self, bucket: LeasedBucket) -> list[Lease]:
        """Take every token that is available now."""
        leases: list[Lease] = []
        while (lease := bucket.acquire(self.now)) is not None:
            leases.append(lease)
        return leases


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a machine whose processes share a directory that does not exist yet."""
    return Machine(tmp_path / "spool" / "leases")


def test_the_next_run_waits_for_what_the_last_one_took(machine: Machine) -> None:
    """A restarted process waits for the tokens of the last one, which come back 60.1 s after the answers."""
    last = machine.bucket()
    for lease in machine.take_all(last):
        last.release(lease, machine.now)
    machine.now += 10.0
    fresh = machine.bucket()

    assert fresh.acquire(machine.now) is None
    assert fresh.next_free(machine.now) == pytest.approx(machine.now + 50.1)
    machine.now += 50.2
    assert len(machine.take_all(fresh)) == 100


def test_tokens_of_a_killed_process_come_back_when_its_requests_cannot_count_any_more(machine: Machine) -> None:
    """The wait is 30 s for the request, 5 s for a server that counts late, and 60.1 s for the window."""
    machine.take_all(machine.bucket())
    fresh = machine.bucket()
    machine.now += 95.0
    assert fresh.acquire(machine.now) is None
    machine.now += 0.2

    assert len(machine.take_all(fresh)) == 100


def test_times_of_another_boot_count_as_past(machine: Machine) -> None:
    """Times written before a reboot count as past, so no token is held for days."""
    machine.now = 5_000_000.0
    machine.take_all(machine.bucket())
    machine.now = 30.0

    assert len(machine.take_all(machine.bucket())) == 100


@pytest.mark.parametrize(
    "content",
    [
        b"x",
        b"\xff" * 800,
        struct.pack("<d", math.nan) * 100,
        struct.pack("<d", math.inf) * 3,
        random.Random(7).randbytes(801),
    ],
    ids=["short", "ones", "nan", "infinity", "random"],
)
def test_a_damaged_file_neither_raises_nor_blocks(machine: Machine, content: bytes) -> None:
    """With a damaged file, about a hundred tokens are available and never more."""
    machine.path.parent.mkdir()
    machine.path.write_bytes(content)
    bucket = machine.bucket()
    leases = machine.take_all(bucket)
    for lease in leases:
        bucket.release(lease, machine.now)

    assert 95 <= len(leases) <= 100
    assert bucket.next_free(machine.now) <= machine.now + 96.0


def test_a_deleted_file_does_not_double_the_budget_of_the_process(machine: Machine) -> None:
    """A process counts its own tokens even if the file is deleted."""
    bucket = machine.bucket()
    leases = machine.take_all(bucket)
    machine.path.unlink()

    assert bucket.acquire(machine.now) is None
    for lease in leases:
        bucket.release(lease, machine.now)
    machine.now += 60.2
    assert len(machine.take_all(bucket)) == 100


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), stopped_s=st.sampled_from([31.0, 96.0, 110.0, 130.0, 200.0]))
def test_processes_that_are_suspended_at_any_moment_never_exceed_the_limit(seed: int, stopped_s: float) -> None:
    """A resumed process sends if its lease still allows it; otherwise it returns the token and takes another."""
    with TemporaryDirectory() as folder:
        machine = Machine(Path(folder) / "leases")
        buckets = [machine.bucket() for _ in range(3)]
        hits = suspended_at_random(
            lambda: machine.now, buckets, random.Random(seed), stopped_s, machine.advance, seconds=250
        )

    assert most_in_a_window(sorted(hits)) <= 100
    assert len(hits) >= 300
