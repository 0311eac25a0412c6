"""What the outbox asks of the spool's thread, and what it does when the disk lags, fails or is given up."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pandaprobe_otel.delivery.outbox import Job
from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.spool.commands import Bury, Command, Done, Insert, Park, Rewrite
from pandaprobe_otel.delivery.spool.keeper import Keeper
from pandaprobe_otel.delivery.spool.memory_side import Loaded
from pandaprobe_otel.delivery.spool.outbox import SpooledOutbox
from pandaprobe_otel.delivery.spool.rows import OWN, Place
from pandaprobe_otel.delivery.spool.writer import MAX_BACKLOG, SpoolWriter
from pandaprobe_otel.encoded_spans import NO_SPANS
from simulated_delivery import create
from spools import Run
from waiting import PATIENCE_S, wait_until


class Desk:
    """An outbox, and a record of what it asked."""

    def __init__(self, max_bytes: int = 100_000) -> None:
        self.asked: list[Command] = []
        self.is_lagging = False
        self.outbox = SpooledOutbox(
            max_bytes, ask=self.asked.append, lags=lambda: self.is_lagging, rows=itertools.count(1).__next__
        )

    def put(self, parcel: Parcel) -> list[Job]:
        return self.outbox.put(parcel, 0.0)

    def kinds(self) -> list[str]:
        return [type(command).__name__ for command in self.asked]

    def first_job(self) -> Job:
        return next(iter(self.outbox))


def test_a_parcel_is_kept_when_it_comes_and_removed_when_it_is_done() -> None:
    """Both by one command."""
    desk = Desk()
    desk.put(create(1, spans=2))
    desk.outbox.finish(desk.first_job(), 0.0)
    insert, done = desk.asked

    assert isinstance(insert, Insert)
    assert insert.place == Place(OWN, 1, create(1, spans=2).size, 2)
    assert done == Done(insert.place)


def test_what_there_is_no_room_for_goes_to_disk_alone() -> None:
    """Nothing is evicted, and what belongs to the same trace follows it there."""
    desk = Desk(max_bytes=25_000)
    assert [desk.put(create(number, size=10_000)) for number in range(4)] == [[], [], [], []]
    desk.put(replace(create(3), step=Step.FINISH, spans=NO_SPANS))
    jobs = [command.job is not None for command in desk.asked if isinstance(command, Insert)]

    assert jobs == [True, True, False, False, False]
    assert len(desk.outbox) == 2


def test_a_trace_under_a_derived_id_takes_the_place_of_the_spans_that_waited() -> None:
    """A process that dies afterwards leaves the derived trace, in doubt, and not the spans it was made of."""
    desk = Desk()
    remote = replace(create(1), step=Step.APPEND, is_remote=True)
    desk.put(remote)
    desk.put(remote)
    desk.outbox.adopt(desk.first_job(), "shop", 0.0)

    assert desk.kinds() == ["Insert"] * 4 + ["Done"] * 2
    kept = [command.parcel for command in desk.asked[2:4] if isinstance(command, Insert)]
    assert [parcel.step for parcel in kept] == [Step.CREATE, Step.APPEND]
    assert kept[0].trace_id != remote.trace_id
    assert {command.place.row for command in desk.asked if isinstance(command, Done)} == {1, 2}


def test_pieces_of_a_divided_parcel_are_kept_one_by_one() -> None:
    """The first in the old place, with its own size from then on."""
    desk = Desk()
    whole = create(1, spans=4)
    desk.put(whole)
    pieces = (replace(whole, spans=whole.spans[:1]), replace(whole, step=Step.APPEND, spans=whole.spans[1:]))
    desk.outbox.replace(desk.first_job(), pieces, 0.0)
    desk.outbox.finish(desk.first_job(), 0.0)

    assert desk.kinds() == ["Insert", "Insert", "Rewrite", "Done"]
    rewrite, done = desk.asked[2], desk.asked[3]
    assert isinstance(rewrite, Rewrite)
    assert isinstance(done, Done)
    assert (rewrite.place.row, rewrite.parcel) == (1, pieces[0])
    assert (done.place.row, done.place.size) == (1, pieces[0].size)


def test_a_loaded_parcel_keeps_its_place_and_its_doubt() -> None:
    """A create that may have been sent is looked for first; an append is simply sent again."""
    desk = Desk()

    def put(parcel: Parcel, now: float) -> None:
        desk.outbox.put(parcel, now)

    append = replace(create(2), step=Step.APPEND)
    for row, parcel in enumerate((create(1), append), 7):
        loaded = Loaded(place=Place(3, row, parcel.size, 1), parcel=parcel, in_doubt=True)
        desk.outbox.load(loaded, put, 0.0)
    jobs = list(desk.outbox)
    for job in jobs:
        desk.outbox.finish(job, 0.0)

    assert [job.in_doubt for job in jobs] == [True, False]
    assert [(command.place.file, command.place.row) for command in desk.asked if isinstance(command, Done)] == [
        (3, 7),
        (3, 8),
    ]
    assert "Insert" not in desk.kinds()


def test_a_refused_parcel_is_buried() -> None:
    """With the words of the server."""
    desk = Desk()
    desk.put(create(1))
    desk.outbox.bury(desk.first_job(), "422 no")

    assert desk.asked[-1] == Bury(create(1), "422 no")


def test_at_the_end_only_what_may_have_been_sent_stays_in_doubt() -> None:
    """And only what is in memory alone can be dropped."""
    desk = Desk()
    desk.put(create(1))
    desk.put(create(2))
    tried = next(job for job in desk.outbox if job.parcel.trace_id == create(2).trace_id)
    tried.attempts = 1
    desk.is_lagging = True
    desk.put(create(3))
    desk.outbox.leave()

    assert [command.place.row for command in desk.asked if isinstance(command, Park)] == [1]
    assert [job.parcel.trace_id for job in desk.outbox] == [create(3).trace_id]


def test_while_the_disk_fails_memory_is_all_there_is() -> None:
    """The bound holds by eviction as without a spool; what is on disk is parked, not lost."""
    desk = Desk(max_bytes=25_000)
    desk.put(create(1, size=10_000))
    desk.outbox.unsave([])
    evicted = [job for number in range(2, 6) for job in desk.put(create(number, size=10_000))]

    assert len(evicted) == 2
    assert {type(command) for command in desk.asked} == {Insert, Park}
    assert desk.outbox.unsaved == len(desk.outbox)
    desk.asked.clear()
    desk.outbox.save_all()
    assert desk.kinds() == ["Insert"] * len(desk.outbox)
    assert desk.outbox.unsaved == 0


def test_a_fault_of_ours_ends_the_spool_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    """It is said once; whoever waits for the disk is let go; nothing piles up."""
    gave_up = threading.Event()

    def broken() -> Keeper:
        raise ZeroDivisionError

    writer = SpoolWriter(broken, on_fault=gave_up.set)
    for row in range(10):
        writer.ask(Insert(Place(OWN, row, 1), create(row), None))

    assert gave_up.wait(60)
    assert not writer.settle(time.monotonic() + PATIENCE_S)
    writer.close(time.monotonic() + PATIENCE_S)
    assert writer.quiet
    assert sum("please report this" in record.message for record in caplog.records) == 1


def test_a_disk_that_does_not_keep_up_is_asked_for_no_more(tmp_path: Path) -> None:
    """Beyond the backlog parcels stay in memory; once it is worked off, they are asked for again."""
    run = Run(tmp_path)
    go = threading.Event()

    def slow() -> Keeper:
        go.wait(60)
        return run.keeper

    writer = SpoolWriter(slow)
    parcel = create(1, size=1 << 20)
    number = 0
    while not writer.lags():
        writer.ask(Insert(Place(OWN, number, parcel.size, 1), parcel, None))
        number += 1
    assert number == MAX_BACKLOG // parcel.size + 1
    go.set()

    assert writer.settle(time.monotonic() + PATIENCE_S)
    assert not writer.lags()
    wait_until(lambda: run.memory.asked_to_save == 1)
    assert run.keeper.parked.parcels + len(run.memory.loaded) == number
    writer.close(time.monotonic() + PATIENCE_S)
