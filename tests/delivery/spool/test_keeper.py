"""What a process leaves in its files, and what the next one finds."""

from __future__ import annotations

import logging
import os
import random
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.spool.commands import ClearJournal, Done, Park, RememberCap, Rewrite, WriteJournal
from pandaprobe_otel.delivery.spool.destination import Destination
from pandaprobe_otel.delivery.spool.keeper import MAX_AGE_S
from pandaprobe_otel.delivery.spool.rows import Count, JournalRow, TraceState
from pandaprobe_otel.encoded_spans import NO_SPANS
from simulated_delivery import create
from spools import DESTINATION, Run


def parcels_of(run: Run) -> list[Parcel]:
    """What a run brings to memory."""
    return [loaded.parcel for loaded in run.load_everything()]


def test_what_waits_is_found_by_the_next_run_exactly_as_it_was(tmp_path: Path) -> None:
    """Every field of every kind of parcel, byte for byte."""
    parcels = [
        create(1, spans=3, size=20_000, is_error=True),
        replace(create(2), step=Step.APPEND, is_remote=True, name="ü\udce4"),
        replace(create(3), step=Step.FINISH, spans=NO_SPANS),
        replace(create(4), step=Step.SCORE, spans=NO_SPANS, name=""),
    ]
    first = Run(tmp_path)
    first.insert(*parcels)
    first.die()

    found = parcels_of(Run(tmp_path))
    assert sorted(found, key=lambda parcel: parcel.trace_id) == parcels


def test_only_what_was_in_memory_is_in_doubt(tmp_path: Path) -> None:
    """What was on disk alone cannot have been sent."""
    first = Run(tmp_path)
    first.insert(create(1))
    first.insert(create(2), in_memory=False)
    first.die()

    second = Run(tmp_path)
    found = second.load_everything(patient=True)
    assert [(loaded.parcel.trace_id[-1], loaded.in_doubt) for loaded in found] == [("2", False)]
    assert second.keeper.wake_at() == 5.0
    second.now = 5.0
    second.keeper.refill()
    assert (second.memory.loaded[-1].parcel.trace_id[-1], second.memory.loaded[-1].in_doubt) == ("1", True)


def test_what_is_done_is_gone(tmp_path: Path) -> None:
    """A delivered parcel is not found again; when nothing is left, neither is the file."""
    run = Run(tmp_path)
    kept, delivered = run.insert(create(1), create(2))
    run.keeper.apply([Done(delivered)])
    run.die()
    second = Run(tmp_path)
    assert [parcel.trace_id for parcel in parcels_of(second)] == [create(1).trace_id]

    second.keeper.apply([Done(loaded.place) for loaded in second.memory.loaded])
    second.keeper.leave()
    assert list(tmp_path.iterdir()) == []
    assert kept.size == create(1).size


def test_a_divided_parcel_is_kept_in_pieces(tmp_path: Path) -> None:
    """The place holds the first piece; the others have places of their own."""
    run = Run(tmp_path)
    whole = create(1, spans=4)
    (place,) = run.insert(whole)
    run.insert(replace(whole, step=Step.APPEND, spans=whole.spans[2:]))
    run.keeper.apply([Rewrite(place, replace(whole, spans=whole.spans[:2]))])
    run.die()

    found = parcels_of(Run(tmp_path))
    assert [(parcel.step, len(parcel.spans)) for parcel in found] == [(Step.CREATE, 2), (Step.APPEND, 2)]


def test_a_restart_goes_on_in_the_same_file(tmp_path: Path) -> None:
    """A process that crashes over and over does not fill the directory with files."""
    for number in range(20):
        run = Run(tmp_path)
        run.keeper.scan()
        run.insert(create(number))
        run.die()

    assert len(list(tmp_path.glob("*.sqlite"))) == 1
    assert len(parcels_of(Run(tmp_path))) == 20


def test_a_living_process_keeps_its_file(tmp_path: Path) -> None:
    """Two runs at once: neither takes the other's, and a third takes what the dead one left, once."""
    first, second = Run(tmp_path), Run(tmp_path)
    first.insert(create(1))
    second.insert(create(2))
    first.keeper.scan()
    second.keeper.scan()
    assert (first.keeper.parked, second.keeper.parked) == (Count(), Count())
    first.die()

    third = Run(tmp_path)
    second.keeper.scan()
    third.keeper.scan()
    assert [run.keeper.parked.parcels for run in (second, third)] == [1, 0]


def test_parcels_for_other_settings_are_left_alone(tmp_path: Path) -> None:
    """Another key, project or endpoint: they must not go there."""
    first = Run(tmp_path)
    first.insert(create(1))
    first.die()
    for other in (
        Destination(endpoint=DESTINATION.endpoint, project="other", api_key="sk_pp_1"),
        Destination(endpoint=DESTINATION.endpoint, project="shop", api_key="sk_pp_2"),
        Destination(endpoint="http://127.0.0.1:2", project="shop", api_key="sk_pp_1"),
    ):
        assert parcels_of(Run(tmp_path, destination=other)) == []

    assert len(parcels_of(Run(tmp_path))) == 1
    assert not any(b"sk_pp_1" in path.read_bytes() for path in tmp_path.iterdir())


def test_the_files_are_private(tmp_path: Path) -> None:
    """0600 each, the log of the database included; 0700 the directory."""
    folder = tmp_path / "a" / "b"
    run = Run(folder)
    run.insert(create(1))

    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(list(folder.iterdir())) == 3


def test_errors_come_back_to_memory_first_and_lines_as_a_whole(tmp_path: Path) -> None:
    """Then the newest; the create of a trace before what follows it."""
    run = Run(tmp_path, space=1)
    run.insert(create(1), create(2), create(3, is_error=True), in_memory=False)
    run.insert(replace(create(1), step=Step.FINISH, spans=NO_SPANS), in_memory=False)
    order: list[str] = []
    while run.keeper.parked.parcels:
        run.memory.space = 1 << 20
        run.keeper.refill()
        order += [f"{loaded.parcel.trace_id[-1]}{loaded.parcel.step[0]}" for loaded in run.memory.loaded]
        run.memory.loaded.clear()

    assert order == ["3c", "1c", "1f", "2c"]


def test_no_more_is_loaded_than_there_is_room_for(tmp_path: Path) -> None:
    """The rest stays on disk, and bodies are not read before their turn."""
    run = Run(tmp_path, space=50_000)
    run.insert(*(create(number, size=10_000) for number in range(20)), in_memory=False)
    run.load_everything()

    assert len(run.memory.loaded) == 5
    assert run.keeper.parked == Count(15, 15)


def test_over_the_bound_the_oldest_go_those_with_errors_last(tmp_path: Path) -> None:
    """Exactly as many as it takes, and they are counted."""
    run = Run(tmp_path, max_bytes=55_000)
    run.insert(create(0, size=10_000, is_error=True), in_memory=False)
    run.insert(*(create(number, size=10_000) for number in range(1, 8)), in_memory=False)
    run.keeper.evict()

    assert run.memory.losses == [("spool_full", Count(3, 3))]
    left = sorted(parcel.trace_id[-1] for parcel in parcels_of(run))
    assert left == ["0", "4", "5", "6", "7"]


def test_what_has_waited_for_a_week_is_given_up_and_counted(tmp_path: Path) -> None:
    """What came later stays, and so does what is about to be sent."""
    run = Run(tmp_path)
    run.insert(create(1), create(2), in_memory=False)
    run.insert(create(3))
    run.now = MAX_AGE_S - 60
    run.keeper.scan()
    assert run.keeper.parked == Count(2, 2)

    run.now = MAX_AGE_S + 60
    run.keeper.scan()
    assert run.keeper.parked == Count(0, 0)
    assert run.memory.losses == [("expired", Count(2, 2))]
    run.die()
    assert [parcel.trace_id[-1] for parcel in parcels_of(Run(tmp_path))] == ["3"]


def test_the_size_that_a_server_takes_is_known_to_the_next_run(tmp_path: Path) -> None:
    """For the same destination, for a week; what is not a number says nothing."""
    first = Run(tmp_path)
    first.insert(create(1))
    first.keeper.apply([RememberCap(131_072)])
    first.die()

    second = Run(tmp_path)
    second.keeper.scan()
    assert second.memory.cap == 131_072
    elsewhere = Run(tmp_path, destination=replace(DESTINATION, endpoint="http://127.0.0.1:2"))
    elsewhere.keeper.scan()
    assert elsewhere.memory.cap is None

    (file,) = tmp_path.glob("body-cap-*")
    assert file.stat().st_mode & 0o777 == 0o600
    last_week = time.time() - MAX_AGE_S - 60
    os.utime(file, (last_week, last_week))
    third = Run(tmp_path)
    third.keeper.scan()
    assert third.memory.cap is None
    file.write_text("much", "ascii")
    fourth = Run(tmp_path)
    fourth.keeper.scan()
    assert fourth.memory.cap is None


def test_the_bound_is_shared_with_living_processes(tmp_path: Path) -> None:
    """What others take is not there; but each may have its equal part."""
    other = Run(tmp_path)
    other.insert(*(create(number, size=100_000) for number in range(10)))
    other.keeper.close_connections()  # writes the log into the database, whose size is what is seen
    run = Run(tmp_path, max_bytes=1_000_000)
    run.insert(*(create(number, size=100_000) for number in range(10)), in_memory=False)
    run.keeper.scan()
    run.keeper.evict()

    assert run.keeper.parked.parcels == 4


def test_parked_parcels_are_counted_whether_they_were_sent_or_not(tmp_path: Path) -> None:
    """A parcel that leaves the memory unsent waits on disk; a place that is gone changes nothing."""
    run = Run(tmp_path)
    first, second = run.insert(create(1), create(2))
    run.keeper.apply([Done(second), Park(first, in_doubt=True), Park(second, in_doubt=True)])

    assert run.keeper.parked == Count(1, 1)
    assert [loaded.in_doubt for loaded in run.load_everything()] == [True]


def test_the_journal_reaches_the_next_run_and_is_cleared_with_its_trace(tmp_path: Path) -> None:
    """Spans of traces that became parcels are not in it any more; open roots of running ones are."""
    run = Run(tmp_path)
    rows = [
        JournalRow(trace_id="aa", span_id="1", is_open=False, data=b"ended"),
        JournalRow(trace_id="aa", span_id="2", is_open=True, data=b"open"),
        JournalRow(trace_id="bb", span_id="3", is_open=False, data=b"other"),
    ]
    run.keeper.apply([WriteJournal(rows, [TraceState(trace_id="aa"), TraceState(trace_id="bb")])])
    running = TraceState(trace_id="aa", posted=True, running=True, tags=("x",))
    run.keeper.apply([ClearJournal("bb", None), ClearJournal("aa", running)])
    run.die()

    second = Run(tmp_path)
    second.keeper.scan()
    assert second.journal == [rows[1]]
    assert second.states == [running]
    assert list(tmp_path.iterdir()) == []


def test_a_deleted_directory_is_made_again_and_what_is_known_is_written_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is in memory is asked for again; what was on disk alone is read through the open file."""
    folder = tmp_path / "spool"
    run = Run(folder)
    run.insert(create(1))
    run.insert(create(2), in_memory=False)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    with caplog.at_level(logging.WARNING):
        run.keeper.scan()
    run.insert(create(1))
    run.die()

    assert (run.memory.forgotten, run.memory.asked_to_save, run.memory.losses) == ([0], 1, [])
    assert sorted(parcel.trace_id[-1] for parcel in parcels_of(Run(folder))) == ["1", "2"]
    assert len(caplog.records) == 1


def test_a_file_of_a_later_version_is_left_alone_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A newer release of this library may have written it."""
    first = Run(tmp_path)
    first.insert(create(1))
    first.die()
    (path,) = tmp_path.glob("*.sqlite")
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    run = Run(tmp_path)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert run.load_everything() == []

    assert path.exists()
    assert len(caplog.records) == 1
    assert "version 99" in caplog.text


def test_locks_without_a_database_are_cleared_away(tmp_path: Path) -> None:
    """A process was killed between making the two, or deleting them."""
    stray = tmp_path / f"{DESTINATION.digest}-1-00000000.sqlite.lock"
    stray.touch()
    Run(tmp_path).keeper.scan()

    assert not stray.exists()


def test_a_full_disk_keeps_parcels_in_memory_and_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning; later and later tries; when one works, everything in memory is asked for."""
    blocker = tmp_path / "spool"
    blocker.write_text("not a directory")
    run = Run(blocker)
    with caplog.at_level(logging.INFO):
        for second in range(10):
            run.now = float(second)
            run.keeper.try_again()
            run.insert(create(second))
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert len(run.memory.unsaved) == 10
        assert run.keeper.failing
        blocker.unlink()
        run.now = 60.0
        run.keeper.try_again()
        run.insert(create(1))

    assert not run.keeper.failing
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert 1 <= run.memory.asked_to_save <= 6


def test_random_use_over_many_lives_loses_nothing(tmp_path: Path) -> None:
    """Inserts, removals, parking, loading and deaths in any order: the disk holds what it was told to hold."""
    rng = random.Random(11)
    expected: dict[str, Parcel] = {}
    number = 0
    run = Run(tmp_path, space=60_000)
    places: dict[str, object] = {}
    for _ in range(400):
        action = rng.random()
        if action < 0.5:
            number += 1
            parcel = create(number, size=rng.randrange(5_000), is_error=rng.random() < 0.2)
            expected[parcel.trace_id] = parcel
            in_memory = rng.random() < 0.5
            (place,) = run.insert(parcel, in_memory=in_memory)
            if in_memory:
                places[parcel.trace_id] = place
        elif action < 0.8 and places:
            trace_id = rng.choice(sorted(places))
            run.keeper.apply([Done(places.pop(trace_id))])  # type: ignore[arg-type]
            del expected[trace_id]
        elif action < 0.95:
            run.keeper.refill()
            places.update((loaded.parcel.trace_id, loaded.place) for loaded in run.memory.loaded)
            run.memory.loaded.clear()
        else:
            run.die()
            run, places = Run(tmp_path, space=60_000), {}
            run.keeper.scan()
    run.die()

    last = Run(tmp_path)
    assert {parcel.trace_id: parcel for parcel in parcels_of(last)} == expected
    assert last.memory.losses == []
    assert os.listdir(tmp_path)
