"""Damaged files of a spool, cut, overwritten or with flipped bits: only intact data is used, and nothing raises."""

from __future__ import annotations

import logging
import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest, Step
from pandaprobe_otel.delivery.spool.spool_file import DAMAGED_SUFFIX
from spools import Run, create

REQUESTS: Sequence[OutgoingRequest] = [
    replace(create(number, size=900, spans=1 + number % 3), step=Step.APPEND if number % 5 == 4 else Step.CREATE)
    for number in range(60)
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the file of a dead process, whose log is checkpointed into the database."""
    folder = tmp_path_factory.mktemp("sound")
    run = Run(folder)
    run.put(*REQUESTS)
    run.die()
    return folder


@pytest.fixture(scope="module")
def with_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory as kill -9 leaves it, with most data in the write-ahead log."""
    folder = tmp_path_factory.mktemp("with_log")
    run = Run(folder)
    for request in REQUESTS:
        run.put(request)
    crashed = tmp_path_factory.mktemp("crashed") / "spool"
    shutil.copytree(folder, crashed)  # copied while the process lives, so the log is not checkpointed
    run.die()
    return crashed


def survivors(folder: Path) -> tuple[Run, list[OutgoingRequest]]:
    """Return a run on the damaged directory and the requests it finds, and check that it can still write."""
    run = Run(folder)
    found = run.contents()
    run.put(create(999))
    assert run.outbox.is_kept
    run.outbox.leave()
    return run, found


def damaged_copy(source: Path, target: Path, suffix: str = ".sqlite") -> Path:
    """Copy the directory and return the copy of the file with that suffix."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    (file,) = target.glob(f"*{suffix}")
    return file


def all_sent_are_real(found: Sequence[OutgoingRequest]) -> bool:
    """Return whether every request found is exactly as written."""
    return all(request in REQUESTS for request in found)


def test_a_log_cut_anywhere_costs_its_end_only(with_log: Path, tmp_path: Path) -> None:
    """A log cut at any byte loses only the commits after the cut."""
    size = damaged_copy(with_log, tmp_path / "copy", "-wal").stat().st_size
    rng = random.Random(3)
    counts: list[int] = []
    cuts = sorted(rng.sample(range(size), 40))
    for cut in cuts:
        log = damaged_copy(with_log, tmp_path / "copy", "-wal")
        with log.open("r+b") as file:
            file.truncate(cut)
        run, found = survivors(tmp_path / "copy")
        assert found == list(REQUESTS[: len(found)]) or sorted(found, key=REQUESTS.index) == REQUESTS[: len(found)]
        assert not run.gone.total()
        counts.append(len(found))

    assert counts == sorted(counts)
    assert counts[-1] >= 55


def test_a_database_cut_anywhere_gives_up_what_is_left(sound: Path, tmp_path: Path) -> None:
    """A database cut at any byte raises nothing and sends nothing wrong, and the directory can still be used."""
    size = damaged_copy(sound, tmp_path / "copy").stat().st_size
    rng = random.Random(4)
    for cut in [0, 1, 99, 100, 4095, 4096, *rng.sample(range(size), 34)]:
        database = damaged_copy(sound, tmp_path / "copy")
        with database.open("r+b") as file:
            file.truncate(cut)
        _, found = survivors(tmp_path / "copy")
        assert all_sent_are_real(found)


@pytest.mark.parametrize("suffix", [".sqlite", "-wal"])
def test_flipped_bits_cost_what_they_hit(
    sound: Path, with_log: Path, tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A flipped bit in any page yields no wrong payload, loses little, and every loss is reported."""
    rng = random.Random(5)
    size = damaged_copy(sound if suffix == ".sqlite" else with_log, tmp_path / "copy", suffix).stat().st_size
    page = 4096 if suffix == ".sqlite" else 4096 + 24
    found_each: list[int] = []
    for start in range(0, size - page, page * (1 if suffix == ".sqlite" else 4)):
        file = damaged_copy(sound if suffix == ".sqlite" else with_log, tmp_path / "copy", suffix)
        content = bytearray(file.read_bytes())
        content[start + rng.randrange(page)] ^= 1 << rng.randrange(8)
        file.write_bytes(content)
        caplog.clear()
        run, found = survivors(tmp_path / "copy")
        assert all_sent_are_real(found)
        assert len(found) == len(REQUESTS) or run.gone["spool_damaged"] or caplog.messages
        found_each.append(len(found))

    assert sorted(found_each)[len(found_each) // 20] >= 50


def test_a_process_killed_at_any_write_of_a_used_log_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A process killed while it overwrites a checkpointed log loses no request.

    SQLite overwrites the old frames of such a log: the header of a frame first, then its page. Between the two writes,
    the log ends with the header of a new commit and the page of an old one.
    """
    run = Run(tmp_path / "spool")
    jobs = [job for request in REQUESTS[:40] for job in run.put(request)]
    own = run.folder.open_own()
    own.open().execute("PRAGMA wal_checkpoint(RESTART)")  # the next write begins at the start of the log
    run.put(REQUESTS[40])
    for step in (lambda: run.done(*jobs[:7]), lambda: run.put(*REQUESTS[41:44]), lambda: run.done(*jobs[7:9])):
        before = shutil.copytree(tmp_path / "spool", tmp_path / "before", dirs_exist_ok=True)
        step()
        log = own.path.with_name(own.path.name + "-wal")
        old, new = (before / log.name).read_bytes(), log.read_bytes()
        assert own.path.read_bytes() == (before / own.path.name).read_bytes()
        expected = survivors(shutil.copytree(before, tmp_path / "untouched"))[1]
        shutil.rmtree(tmp_path / "untouched")
        for cut in _writes(old, new):
            (torn,) = damaged_copy(before, tmp_path / "copy").parent.glob("*-wal")
            torn.write_bytes(new[:cut] + old[cut:])
            _, found = survivors(tmp_path / "copy")
            assert found == expected
            assert not list((tmp_path / "copy").glob(f"*{DAMAGED_SUFFIX}"))
    assert caplog.messages
    assert all("whose last write is incomplete" in message for message in caplog.messages)


def _writes(old: bytes, new: bytes) -> list[int]:
    """Return the offsets in a log at which a transaction can be interrupted, and the middle of each page."""
    first = next(at for at in range(32, len(new), 24 + 4096) if new[at : at + 24] != old[at : at + 24])
    last = max(at for at in range(32, len(new), 24 + 4096) if new[at : at + 24] != old[at : at + 24])
    return [
        cut for at in range(first, last + 1, 24 + 4096) for cut in (at, at + 24, at + 2072) if cut != last + 24 + 4096
    ]


def test_a_bit_flipped_in_the_head_of_a_log_or_of_a_frame_costs_nothing(with_log: Path, tmp_path: Path) -> None:
    """A flipped bit in a page number, version, salt or checksum is repaired or detected, and loses no request."""
    for at in range(32 + 4096 + 2 * 24):
        if 56 <= at < 32 + 4096 + 24:
            continue
        log = damaged_copy(with_log, tmp_path / "copy", "-wal")
        content = bytearray(log.read_bytes())
        content[at] ^= 1 << at % 8
        log.write_bytes(content)
        _, found = survivors(tmp_path / "copy")
        assert found == list(REQUESTS)


def test_overwritten_pages_are_stepped_over(sound: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An overwritten page yields no wrong request; the damaged file is set aside, with at most one warning."""
    rng = random.Random(6)
    for _ in range(20):
        database = damaged_copy(sound, tmp_path / "copy")
        pages = database.stat().st_size // 4096
        with database.open("r+b") as file:
            file.seek(4096 * rng.randrange(4, pages))
            file.write(rng.randbytes(4096))
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            _, found = survivors(tmp_path / "copy")
        assert all_sent_are_real(found)
        assert len(caplog.records) <= 1
        if caplog.records:
            assert list((tmp_path / "copy").glob(f"*{DAMAGED_SUFFIX}"))


@pytest.mark.parametrize("content", [b"", b"x" * 5000, b"SQLite format 3\0" + b"\0" * 4080], ids=["empty", "x", "head"])
def test_a_file_that_is_no_database_does_not_stop_anything(tmp_path: Path, sound: Path, content: bytes) -> None:
    """An empty file counts as a missing one, and a file that is not a database is set aside."""
    database = damaged_copy(sound, tmp_path / "copy")
    database.write_bytes(content)
    _, found = survivors(tmp_path / "copy")

    assert found == []


def test_damage_while_the_process_runs(tmp_path: Path) -> None:
    """After damage, requests in memory are written again, readable ones on disk are kept, and the rest is counted."""
    folder = tmp_path / "spool"
    run = Run(folder)
    run.look_around()
    run.put(*REQUESTS[:30])
    run.outbox.before_fork()
    (database,) = folder.glob("*.sqlite")
    with database.open("r+b") as file:
        file.seek(4096 * 6)
        file.write(b"\xa5" * 4096 * 2)
    run.put(*REQUESTS[30:40])
    found: list[OutgoingRequest] = []
    for _ in range(3):
        run.now += 5.0
        found = run.contents()

    assert all_sent_are_real(found)
    spans = sum(len(request.spans) for request in REQUESTS[:40])
    assert sum(len(request.spans) for request in found) + run.gone["spool_damaged"] == spans
    assert 0 < run.gone["spool_damaged"] < spans
    run.put(create(1000))
    assert run.outbox.is_kept


def test_only_a_few_damaged_files_are_kept(sound: Path, tmp_path: Path) -> None:
    """Damaged files are kept for inspection, at most three."""
    for number in range(6):
        database = damaged_copy(sound, tmp_path / "copy")
        kept = tmp_path / "spool"
        kept.mkdir(exist_ok=True)
        database.write_bytes(b"y" * 9000)
        database.rename(kept / database.name.replace(".sqlite", f"{number}.sqlite"))
        survivors(kept)

    assert len(list((tmp_path / "spool").glob(f"*.sqlite{DAMAGED_SUFFIX}"))) == 3
