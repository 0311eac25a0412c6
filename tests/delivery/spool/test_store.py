"""The files that a process leaves, and what the next one recovers."""

from __future__ import annotations

import logging
import math
import os
import random
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from pandaprobe_otel.delivery.budget import LeasedBucket
from pandaprobe_otel.delivery.job import Job, Place
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.outbox import MAX_AGE_S
from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest, Step
from pandaprobe_otel.delivery.policy import DeliveryPolicy
from pandaprobe_otel.delivery.spool.destination import Destination
from pandaprobe_otel.delivery.spool.lock_file import LockFile
from pandaprobe_otel.delivery.spool.rows import OWN, JournalChange, JournalRow, TraceState
from pandaprobe_otel.mapping.encoded_spans import NO_SPANS
from pandaprobe_otel.process.descriptors import descriptors_of
from spools import DESTINATION, Run, create


def numbers(requests: Iterable[OutgoingRequest]) -> list[str]:
    """Return the last digits of the requests' trace ids, sorted."""
    return sorted(request.trace_id[-1] for request in requests)


def test_waiting_requests_are_recovered_byte_for_byte(tmp_path: Path) -> None:
    """Every field of every kind of request is recovered byte for byte."""
    requests = [
        create(1, spans=3, size=20_000, is_error=True),
        replace(create(2), step=Step.APPEND, is_remote=True, name="ü\udce4"),
        replace(create(3), step=Step.FINISH, spans=NO_SPANS),
        replace(create(4), step=Step.SCORE, spans=NO_SPANS, name=""),
    ]
    first = Run(tmp_path)
    first.put(*requests)
    first.die()

    found = Run(tmp_path).contents()
    assert sorted(found, key=lambda request: request.trace_id) == requests


def test_only_what_was_started_is_in_doubt(tmp_path: Path) -> None:
    """A create that may have been sent is looked up after five seconds; a create that was not sent goes at once."""
    first = Run(tmp_path)
    started, _ = first.put(create(1), create(2))
    first.start(started)
    first.die()

    second = Run(tmp_path)
    second.look_around()
    assert {job.request.trace_id[-1]: job.in_doubt for job in second.outbox} == {"1": True, "2": False}
    turn = second.outbox.schedule.next_create(0.0)
    assert turn is not None
    assert turn.request.trace_id[-1] == "2"
    second.start(turn)
    assert second.outbox.schedule.next_create(4.9) is None
    late = second.outbox.schedule.next_create(5.0)
    assert late is not None
    assert late.request.trace_id[-1] == "1"


def test_a_delivered_request_is_gone(tmp_path: Path) -> None:
    """A delivered request is not found again, and an empty file is deleted."""
    run = Run(tmp_path)
    _, delivered = run.put(create(1), create(2))
    run.done(delivered)
    run.die()
    second = Run(tmp_path)
    assert numbers(second.contents()) == ["1"]

    second.done(*second.outbox)
    second.outbox.leave()
    assert list(tmp_path.iterdir()) == []


def test_the_content_is_on_disk_alone_until_its_turn(tmp_path: Path) -> None:
    """A waiting request takes little memory, and so does a request that failed and waits again."""
    run = Run(tmp_path)
    (job,) = run.put(create(1, size=50_000))
    assert run.outbox.bytes < 1_000
    run.start(job)
    assert job.request == create(1, size=50_000)
    run.outbox.retry(job, 9.0)
    assert run.outbox.bytes < 1_000


def test_a_divided_request_is_kept_in_pieces(tmp_path: Path) -> None:
    """The first piece replaces the request on disk, and each other piece is stored as well."""
    run = Run(tmp_path)
    whole = create(1, spans=4)
    (job,) = run.put(whole)
    run.start(job)
    pieces = (replace(whole, spans=whole.spans[:2]), replace(whole, step=Step.APPEND, spans=whole.spans[2:]))
    run.outbox.replace(job, pieces, 0.0)
    run.outbox.save()
    run.die()

    assert Run(tmp_path).contents() == list(pieces)


def test_a_trace_under_a_derived_id_takes_the_place_of_the_spans_that_waited(tmp_path: Path) -> None:
    """If the process dies after an adoption, the derived trace is on disk instead of the spans it was made of."""
    run = Run(tmp_path)
    remote = replace(create(1), step=Step.APPEND, is_remote=True)
    first, _ = run.put(remote, remote)
    run.outbox.adopt(first, "shop", 0.0)
    run.outbox.save()
    run.die()

    kept = Run(tmp_path).contents()
    assert [request.step for request in kept] == [Step.CREATE, Step.APPEND]
    assert remote.trace_id not in {request.trace_id for request in kept}


def test_a_report_of_drops_is_not_written_to_disk(tmp_path: Path) -> None:
    """A report of drops added to a trace is not written to disk, since it counts drops of this process alone."""
    run = Run(tmp_path)
    (job,) = run.put(create(1))
    assert run.outbox.open(job, 0.0)
    run.outbox.amend(job, replace(job.request, fields=b'{"metadata":{"dropped":1}}'))
    run.outbox.save()
    assert job.request.fields == b'{"metadata":{"dropped":1}}'
    run.die()

    assert Run(tmp_path).contents() == [create(1)]


def test_a_restart_goes_on_in_the_same_file(tmp_path: Path) -> None:
    """A process that keeps crashing does not fill the directory with files."""
    for number in range(20):
        run = Run(tmp_path)
        run.look_around()
        run.put(create(number))
        run.die()

    assert len(list(tmp_path.glob("*.sqlite"))) == 1
    assert len(Run(tmp_path).contents()) == 20


def test_a_living_process_keeps_its_file(tmp_path: Path) -> None:
    """A run takes no requests of a living run; one later run takes those of a dead run."""
    first, second = Run(tmp_path), Run(tmp_path)
    first.put(create(1))
    second.put(create(2))
    assert (numbers(first.contents()), numbers(second.contents())) == (["1"], ["2"])
    first.die()

    second.now = 5.0
    third = Run(tmp_path)
    assert (numbers(second.contents()), third.contents()) == (["1", "2"], [])


def test_requests_for_other_settings_are_left_alone(tmp_path: Path) -> None:
    """Requests for another key, project or endpoint are not sent with this run's settings."""
    first = Run(tmp_path)
    first.put(create(1))
    first.die()
    for other in (
        Destination(endpoint=DESTINATION.endpoint, project="other", api_key="sk_pp_1"),
        Destination(endpoint=DESTINATION.endpoint, project="shop", api_key="sk_pp_2"),
        Destination(endpoint="http://127.0.0.1:2", project="shop", api_key="sk_pp_1"),
    ):
        assert Run(tmp_path, destination=other).contents() == []

    assert len(Run(tmp_path).contents()) == 1
    assert not any(b"sk_pp_1" in path.read_bytes() for path in tmp_path.iterdir())


def test_the_files_are_private(tmp_path: Path) -> None:
    """Files and the database's log have mode 0600, and the directory has 0700."""
    folder = tmp_path / "a" / "b"
    run = Run(folder)
    run.put(create(1))

    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(list(folder.iterdir())) == 3


def test_over_the_bound_the_oldest_go_those_with_errors_last(tmp_path: Path) -> None:
    """A full spool drops no more requests than needed, oldest first, those with errors last, and counts their spans."""
    run = Run(tmp_path, max_bytes=56_000)
    for number in range(8):
        run.now += 31.0
        run.put(create(number, size=10_000, is_error=number == 0))
    run.look_around()

    assert run.gone["spool_full"] == 3
    assert numbers(run.contents()) == ["0", "4", "5", "6", "7"]
    assert run.outbox.fill <= 1.0


@pytest.mark.parametrize("sent_at_once", [1, 4])
def test_requests_that_are_being_sent_cost_none_that_wait_on_disk(tmp_path: Path, sent_at_once: int) -> None:
    """The bound on memory drops no request on disk to make room for contents that are loaded for sending."""
    bare = create(1, size=10_000).bare().size
    run = Run(tmp_path, max_memory=20 * bare + 10_000)
    jobs = run.put(*(create(number, size=10_000) for number in range(20)))
    for job in jobs[:sent_at_once]:
        run.start(job)
    run.look_around()

    assert run.gone.total() == 0
    assert len(run.contents()) == 20


def test_a_request_that_waited_a_week_is_given_up_and_counted(tmp_path: Path) -> None:
    """A request that has waited for a week is dropped and counted, unless it is being sent."""
    run = Run(tmp_path)
    old, under_way = run.put(create(1), create(2))
    run.start(under_way)
    run.now = MAX_AGE_S - 60
    run.put(create(3))
    run.look_around()
    assert run.gone.total() == 0

    run.now = MAX_AGE_S + 60
    run.look_around()
    assert run.gone["expired"] == 1
    assert old not in list(run.outbox)
    run.die()
    assert numbers(Run(tmp_path).contents()) == ["2", "3"]


def test_a_damaged_and_too_old_request_is_counted_once(tmp_path: Path) -> None:
    """A request that is damaged and too old is counted once; else the ledger would count more spans than ended."""
    run = Run(tmp_path)
    (job,) = run.put(create(1))
    own = run.folder.own
    assert own is not None
    own.open().execute("DELETE FROM body")
    assert not run.outbox.open(job, run.now)
    run.now = MAX_AGE_S + 60
    run.look_around()

    assert run.gone.total() == job.request.span_count


def test_the_size_that_a_server_takes_is_known_to_the_next_run(tmp_path: Path) -> None:
    """The learned size limit is valid for a week and one destination; a value that is not a number is ignored."""
    first = Run(tmp_path)
    first.outbox.remember_cap(131_072)
    first.put(create(1))
    first.die()

    def known(destination: Destination = DESTINATION) -> int | None:
        run = Run(tmp_path, destination=destination)
        run.look_around()
        run.die()
        return run.body_cap

    assert known() == 131_072
    assert known(replace(DESTINATION, endpoint="http://127.0.0.1:2")) is None
    (file,) = tmp_path.glob("body-cap-*")
    assert file.stat().st_mode & 0o777 == 0o600
    last_week = time.time() - MAX_AGE_S - 60
    os.utime(file, (last_week, last_week))
    assert known() is None
    file.write_text("much", "ascii")
    assert known() is None


def test_the_bound_is_shared_with_living_processes(tmp_path: Path) -> None:
    """Space used by other processes is not available, but each process may have an equal share."""
    other = Run(tmp_path)
    other.put(*(create(number, size=100_000) for number in range(10)))
    other.outbox.before_fork()  # checkpoints the log into the database, whose size is measured
    run = Run(tmp_path, max_bytes=1_000_000)
    run.put(*(create(number, size=100_000) for number in range(10)))
    run.look_around()

    assert len(run.outbox) == 4


def test_the_bound_of_the_memory_holds_for_what_is_on_disk_too(tmp_path: Path) -> None:
    """Each waiting request on disk counts toward the memory bound, however small it is."""
    run = Run(tmp_path, max_memory=60_000)
    run.put(*(create(number) for number in range(300)))
    run.look_around()

    assert run.outbox.bytes <= 60_000
    assert len(run.outbox) + run.gone["spool_full"] == 300
    assert run.gone.keys() == {"spool_full", "spool_damaged"}
    assert not run.gone["spool_damaged"]


@pytest.mark.parametrize("is_full", [False, True])
def test_the_journal_reaches_the_next_run_and_is_cleared_with_its_trace(is_full: bool, tmp_path: Path) -> None:
    """The journal drops spans that became requests, also on a full disk, and keeps open roots of running traces."""
    run = Run(tmp_path)
    rows = [
        JournalRow(trace_id="aa", span_id="1", is_open=False, data=b"ended"),
        JournalRow(trace_id="aa", span_id="2", is_open=True, data=b"open"),
        JournalRow(trace_id="aa", span_id="4", is_open=True, data=b"open"),
        JournalRow(trace_id="bb", span_id="3", is_open=False, data=b"other"),
    ]
    run.write(JournalChange(rows=rows, states=[TraceState(trace_id="aa"), TraceState(trace_id="bb")]))
    own = run.folder.own
    assert own is not None
    if is_full:
        own.open().execute("PRAGMA query_only = ON")
    run.write(JournalChange(rows=[JournalRow(trace_id="aa", span_id="4", is_open=False, data=b"ended")]))
    running = TraceState(trace_id="aa", posted=True, running=True, tags=("x",))
    run.write(JournalChange(cleared="bb"), JournalChange(cleared="aa", states=[running], open_roots=["2"]))
    run.now = 5.0
    run.look_around()
    run.die()

    second = Run(tmp_path)
    second.look_around()
    assert second.journal == [rows[1]]
    assert second.states == [running]
    assert list(tmp_path.iterdir()) == []


def test_a_deleted_directory_is_made_again_and_what_is_known_is_written_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests only on disk are read through the open file, and those in memory are written again."""
    folder = tmp_path / "spool"
    run = Run(folder)
    run.look_around()
    _, under_way = run.put(create(1), create(2))
    run.start(under_way)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    run.now = 5.0
    with caplog.at_level(logging.WARNING):
        run.look_around()
    run.die()

    assert not run.gone.total()
    assert numbers(Run(folder).contents()) == ["1", "2"]
    assert len(caplog.records) == 1


def test_a_file_of_a_later_version_is_left_alone_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file of a newer release of this library is not touched, and one warning is logged."""
    first = Run(tmp_path)
    first.put(create(1))
    first.die()
    (path,) = tmp_path.glob("*.sqlite")
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    run = Run(tmp_path)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert run.contents() == []
            run.now += 5.0

    assert path.exists()
    assert len(caplog.records) == 1
    assert "version 99" in caplog.text


def test_locks_without_a_database_are_cleared_away(tmp_path: Path) -> None:
    """The lock of a process killed between making or deleting its two files is removed."""
    stray = tmp_path / f"{DESTINATION.digest}-1-00000000.sqlite.lock"
    stray.touch()
    Run(tmp_path).look_around()

    assert not stray.exists()


def test_a_full_disk_keeps_requests_in_memory_and_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk causes one warning and the memory bound holds; requests are written once the disk works."""
    blocker = tmp_path / "spool"
    blocker.write_text("not a directory")
    run = Run(blocker, max_memory=25_000)
    with caplog.at_level(logging.INFO):
        for second in range(10):
            run.now = float(second)
            run.put(create(second, size=10_000))
            run.look_around()
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert run.gone["queue_full"] == 8
        assert len(run.outbox.unsaved) == len(run.outbox) == 2
        assert not run.outbox.is_kept
        blocker.unlink()
        run.now = 60.0
        run.look_around()

    assert run.outbox.is_kept
    assert run.outbox.unsaved == []
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    run.die()
    assert len(Run(blocker).contents()) == 2


def test_a_failed_removal_is_repeated_later(tmp_path: Path) -> None:
    """If the removal of a delivered request fails on disk, a later write removes it."""
    run = Run(tmp_path)
    (job,) = run.put(create(1))
    own = run.folder.own
    assert own is not None
    own.open().execute("PRAGMA query_only = ON")
    run.done(job)
    run.now = 5.0
    run.look_around()
    run.die()

    assert Run(tmp_path).contents() == []


def test_a_change_that_the_disk_refused_stays(tmp_path: Path) -> None:
    """If the disk fails while a refused request is divided, the divided request is sent, not the one on disk."""
    run = Run(tmp_path)
    (job,) = run.put(create(1, spans=2))
    run.start(job)
    own = run.folder.own
    assert own is not None
    own.open().execute("PRAGMA query_only = ON")
    run.outbox.replace(job, (create(1, spans=1),), 1.0)
    run.outbox.save()

    assert run.outbox.open(job, 1.0)
    assert job.request == create(1, spans=1)


def test_an_end_that_was_on_disk_alone_is_not_waited_for_when_it_had_to_go(tmp_path: Path) -> None:
    """With a failed disk and a full memory, every remaining request can still be read."""
    run = Run(tmp_path, max_memory=25_000)
    policy = DeliveryPolicy(
        outbox=run.outbox,
        bucket=LeasedBucket(),
        ledger=Ledger(),
        notices=Notices(lambda: 0.0),
        project="shop",
    )
    policy.offer(replace(create(1), step=Step.FINISH, spans=NO_SPANS), 0.0)
    policy.outbox.save()
    own = run.folder.own
    assert own is not None
    own.open().execute("PRAGMA query_only = ON")
    for number in (2, 3):
        policy.offer(create(number, size=10_000), 0.0)
        policy.outbox.save()
        under_way = run.outbox.schedule.next_create(0.0)
        assert under_way is not None
        run.outbox.start(under_way, 0.0)
    policy.offer(replace(create(4, size=10_000), step=Step.APPEND), 0.0)

    assert len(run.outbox) > 0
    assert [job for job in run.outbox if job.request.is_bare and job.place is None] == []


def test_a_fault_with_a_request_that_cannot_be_read_ends_the_looking(tmp_path: Path) -> None:
    """A fault of this library with an unreadable request turns the spool off."""
    run = Run(tmp_path)
    run.put(create(1))
    assert run.store.read(Place(OWN, 1, 1, 1)) is None

    def jobs() -> Iterable[Job]:
        raise ZeroDivisionError

    run.store.tend(jobs, 0.0)
    assert run.store.tend_at == math.inf


def test_at_the_end_only_what_is_in_memory_alone_can_be_dropped(tmp_path: Path) -> None:
    """At exit, only requests in memory alone can be dropped; the others are on disk with their state."""
    run = Run(tmp_path)
    tried, _ = run.put(create(1), create(2))
    run.start(tried)
    run.outbox.retry(tried, 5.0)
    assert run.outbox.unsaved == []
    run.outbox.leave()

    heir = Run(tmp_path)
    heir.look_around()
    assert {job.request.trace_id[-1]: job.in_doubt for job in heir.outbox} == {"1": True, "2": False}


def test_random_use_over_many_lives_loses_nothing(tmp_path: Path) -> None:
    """After puts, sends, retries, removals and deaths in any order, the disk holds exactly the expected requests."""
    rng = random.Random(11)
    expected: dict[str, OutgoingRequest] = {}
    run = Run(tmp_path)
    for number in range(400):
        action = rng.random()
        jobs = list(run.outbox)
        if action < 0.5 or not jobs:
            request = create(number, size=rng.randrange(5_000), is_error=rng.random() < 0.2)
            expected[request.trace_id] = request
            run.put(request)
        elif action < 0.7:
            job = rng.choice(jobs)
            del expected[job.request.trace_id]
            run.done(job)
        elif action < 0.9:
            job = rng.choice(jobs)
            run.start(job)
            assert job.request == expected[job.request.trace_id]
            run.outbox.retry(job, run.now)
        else:
            run.die()
            run = Run(tmp_path)
            run.look_around()
    run.die()

    last = Run(tmp_path)
    assert {request.trace_id: request for request in last.contents()} == expected
    assert not last.gone.total()
    assert os.listdir(tmp_path)


def test_a_file_whose_lock_the_app_has_closed_may_belong_to_another_process(tmp_path: Path) -> None:
    """A file that another process took is left to it, and counted; one that nobody took is used again."""
    run = Run(tmp_path)
    run.put(create(1), create(2))
    (lock,) = tmp_path.glob("*.lock")
    _take_descriptor(lock)
    run.put(create(3))
    assert numbers(run.contents()) == ["1", "2", "3"]

    _take_descriptor(lock)
    other = LockFile.take(lock)
    assert other is not None
    run.put(create(4))
    assert numbers(run.contents()) == ["4"]
    assert run.gone["taken_over"] == 3
    other.close()
    assert numbers(Run(tmp_path).contents()) == ["1", "2", "3"]


def _take_descriptor(path: Path) -> None:
    """Use the number of a file's descriptor for another file."""
    (descriptor,) = descriptors_of([path])
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, descriptor.number)
    os.close(null)
