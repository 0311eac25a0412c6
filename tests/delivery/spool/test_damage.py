"""Damaged files of a spool: nothing raises, only intact requests are sent, and every loss is counted or logged."""

from __future__ import annotations

import logging
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pandaprobe_otel.delivery.budget import LeasedBucket
from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.spool.dead_letters import DeadLetters
from pandaprobe_otel.delivery.spool.inspection import reports
from pandaprobe_otel.delivery.spool.lease_file import FileTokens
from pandaprobe_otel.delivery.spool.spool_file import DAMAGED_SUFFIX
from rings import IN_FULL
from spools import DESTINATION, Run, create

STEPS = (*(Step.CREATE,) * 4, Step.APPEND)
REQUESTS = [
    replace(create(number, size=200 + 60 * (number % 7), spans=1 + number % 2), step=STEPS[number % 5])
    for number in range(44)
]
REFUSED = create(900, size=300)
CLOCK_S = 1000.0
PAGE = 4096
FRAME = 24 + PAGE
MEMORY_DISK = "/dev/shm" if os.path.isdir("/dev/shm") else None
KINDS = ("sqlite", "sqlite-wal", "sqlite.lock", "db", "leases-key", "cut", "body-cap-" + DESTINATION.digest)
"""The suffixes or names of all kinds of files in a spool."""


def bucket(folder: Path) -> LeasedBucket:
    """Return the budget of a process that uses the directory."""
    return LeasedBucket(tokens=FileTokens(folder / "leases-key", clock=lambda: CLOCK_S), clock=lambda: CLOCK_S)


def refuse(run: Run, request: Parcel) -> None:
    """Let the server refuse a request."""
    (job,) = run.put(request)
    run.start(job)
    run.outbox.refused(job, "422 no")
    run.done(job)


@cache
def left_behind() -> dict[str, bytes]:
    """Return the files of two killed processes: one with a write-ahead log, one without."""
    with TemporaryDirectory() as scratch:
        folder, other = Path(scratch) / "spool", Path(scratch) / "other"
        ended = Run(other)
        ended.put(*REQUESTS[:22])
        ended.die()
        run = Run(folder)
        refuse(run, REFUSED)
        run.outbox.remember_cap(1 << 20)
        for request in REQUESTS[22:]:
            run.put(request)
        for _ in range(30):
            assert bucket(folder).acquire(0.0) is not None
        bucket(folder).publish_cutoff(0.25, 0.0)
        files = {path.name: path.read_bytes() for place in (other, folder) for path in place.iterdir()}
        run.die()
        return files


def files_of(kind: str) -> list[str]:
    """Return the names of the files of a kind."""
    return [name for name in left_behind() if kind in (name, name.partition(".")[2])]


DATABASE, LOG = "without a log", "write-ahead log"


def name_of(file: str) -> str:
    """Return the name of the database without a log, or of the log."""
    if file == LOG:
        return files_of("sqlite-wal")[0]
    return next(name for name in files_of("sqlite") if f"{name}-wal" not in left_behind())


def write(folder: Path, name: str, change: Callable[[bytearray], object]) -> None:
    """Write the files to the directory, with this change to one of them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for each, content in left_behind().items():
        changed = bytearray(content)
        if each == name:
            change(changed)
        (folder / each).write_bytes(changed)


def flip(content: bytearray, bit: int) -> None:
    """Flip a bit."""
    content[bit // 8] ^= 1 << bit % 8


def refused_by(letters: DeadLetters) -> list[Parcel]:
    """Return the refused requests that can be read; a damaged file is moved aside."""
    with suppress(sqlite3.DatabaseError):
        return [letter.request for letter in letters.all() if letter.request is not None]
    return [letter.request for letter in letters.all() if letter.request is not None]


def examine(folder: Path, lines: Sequence[str], *, looks_first: bool = False, is_silent: bool = False) -> list[Parcel]:
    """Use the directory as users and processes do; return the requests that are found.

    `is_silent`: a loss need not be noticed, since the file is as one that was never written.
    """
    if looks_first:
        reports(folder)
    heir = Run(folder)
    found = heir.contents()
    lost = sum(request.span_count for request in REQUESTS) - sum(request.span_count for request in found)
    is_logged = any(word in line for line in lines for word in ("damaged", "has lost", "incomplete", "left alone"))
    assert lost <= heir.gone.total() or is_logged or is_silent
    assert all(request in REQUESTS for request in found)
    assert len({request.trace_id for request in found}) == len(found)
    assert heir.body_cap is None or heir.body_cap > 0
    heir.put(create(990))
    refuse(heir, create(991))
    assert heir.outbox.is_kept
    letters = DeadLetters(folder, DESTINATION)
    if create(991) not in refused_by(letters):  # the new request went with the damaged file
        letters.add(create(991), "422 no", lambda error: pytest.fail(str(error)))
    assert create(991) in refused_by(letters)
    assert all(request in (REFUSED, create(991)) for request in refused_by(letters))
    tokens = bucket(folder)
    assert 70 <= len(list(iter(lambda: tokens.acquire(0.0), None))) <= 71
    assert tokens.next_free(0.0) <= 100.0
    assert 0.0 <= tokens.publish_cutoff(0.0, 0.0) <= 1.0
    heir.outbox.leave()
    return found


@pytest.fixture(scope="module")
def lines() -> Iterator[list[str]]:
    """Yield the list to which the log lines are added."""
    logged: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: logged.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("pandaprobe_otel")
    logger.addHandler(handler)
    yield logged
    logger.removeHandler(handler)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("examples", [12, pytest.param(1500, marks=IN_FULL)])
def test_a_flipped_bit_is_survived_and_logged(kind: str, examples: int, lines: list[str]) -> None:
    """A flipped bit loses little and is logged, even if a user reads the spool before the next process does."""

    @settings(max_examples=examples)
    @given(name=st.sampled_from(files_of(kind)), place=st.floats(0, 1, exclude_max=True), looks_first=st.booleans())
    def survives(name: str, place: float, looks_first: bool) -> None:
        lines.clear()
        with TemporaryDirectory(dir=MEMORY_DISK) as folder:
            write(Path(folder), name, lambda content: flip(content, int(place * len(content) * 8)))
            examine(Path(folder), lines, looks_first=looks_first)

    survives()


@pytest.mark.parametrize("bits", [25, pytest.param(PAGE * 8, marks=IN_FULL)])
def test_a_bit_of_the_first_page_costs_nothing(bits: int, lines: list[str]) -> None:
    """A flipped bit in the first page loses nothing, since every file has the same tables and columns."""
    column = left_behind()[name_of(DATABASE)].index(b"fields BLOB") * 8

    @settings(max_examples=bits)
    @example(place=column)
    @example(place=column + 16 * 8 + 7)  # in NOT NULL: SQLite's message is then not valid UTF-8
    @given(place=st.integers(0, PAGE * 8 - 1).filter(lambda place: not 60 <= place // 8 < 64))
    def costs_nothing(place: int) -> None:
        with TemporaryDirectory(dir=MEMORY_DISK) as folder:
            write(Path(folder), name_of(DATABASE), lambda content: flip(content, place))
            assert len(examine(Path(folder), lines)) == len(REQUESTS)

    costs_nothing()


def test_a_bit_flipped_in_the_head_of_a_log_or_of_a_frame_costs_nothing(tmp_path: Path) -> None:
    """A flipped bit in a page number, version, salt or checksum is repaired or detected, and loses no request."""
    run = Run(tmp_path / "spool")
    for request in REQUESTS:
        run.put(request)
    killed = shutil.copytree(tmp_path / "spool", tmp_path / "killed")  # while it lives: the log is not checkpointed
    run.die()
    for byte in (*range(56), *range(32 + FRAME, 32 + FRAME + 24)):
        copy = shutil.copytree(killed, tmp_path / "copy")
        (log,) = copy.glob("*-wal")
        content = bytearray(log.read_bytes())
        flip(content, byte * 8 + byte % 8)
        log.write_bytes(content)
        assert Run(copy).contents() == REQUESTS
        shutil.rmtree(copy)


def cut(content: bytearray, rng: random.Random) -> None:
    """Cut a file anywhere."""
    del content[rng.randrange(len(content)) :]


def overwrite(content: bytearray, rng: random.Random) -> None:
    """Overwrite a page."""
    at = PAGE * rng.randrange(1, len(content) // PAGE)
    content[at : at + PAGE] = rng.randbytes(PAGE)


def replace_all(content: bytearray, rng: random.Random) -> None:
    """Replace the content by something else."""
    content[:] = rng.choice([b"", b"x" * 5000, b"SQLite format 3\0" + b"\0" * 4080])


@pytest.mark.parametrize(
    ("file", "change"), [(LOG, cut), (DATABASE, cut), (DATABASE, overwrite), (DATABASE, replace_all)]
)
def test_a_file_that_is_cut_or_overwritten_costs_only_its_own_requests(
    file: str, change: Callable[[bytearray, random.Random], None], tmp_path: Path, lines: list[str]
) -> None:
    """Requests in other files are all found; a cut log loses only its last commits; three damaged files are kept."""
    rng = random.Random(3)
    for _ in range(20):
        lines.clear()
        write(tmp_path / "spool", name_of(file), lambda content: change(content, rng))
        found = examine(tmp_path / "spool", lines, is_silent=change is replace_all or file == LOG)
        others, own = (REQUESTS[:22], REQUESTS[22:]) if file == LOG else (REQUESTS[22:], REQUESTS[:22])
        assert all(request in found for request in others)
        kept = [request for request in own if request in found]
        assert file != LOG or kept == own[: len(kept)]
    damaged = left_behind()[name_of(DATABASE)][: 2 * PAGE]
    for number in range(6):
        (tmp_path / "spool" / name_of(DATABASE).replace(".sqlite", f"{number}.sqlite")).write_bytes(damaged)
        Run(tmp_path / "spool").look_around()

    assert len(list((tmp_path / "spool").glob(f"*.sqlite{DAMAGED_SUFFIX}"))) == 3


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
        expected = Run(shutil.copytree(before, tmp_path / "untouched")).contents()
        shutil.rmtree(tmp_path / "untouched")
        changed = [at for at in range(32, len(new), FRAME) if new[at : at + 24] != old[at : at + 24]]
        for at in range(changed[0], changed[-1] + 1, FRAME):
            for torn in (at, at + 24, at + 2072):
                copy = shutil.copytree(before, tmp_path / "copy")
                (copy / log.name).write_bytes(new[:torn] + old[torn:])
                assert Run(copy).contents() == expected
                assert not list(copy.glob(f"*{DAMAGED_SUFFIX}"))
                shutil.rmtree(copy)
    assert caplog.messages
    assert all("whose last write is incomplete" in message for message in caplog.messages)


def test_damage_while_the_process_runs(tmp_path: Path) -> None:
    """After damage, requests in memory are written again, readable ones on disk are kept, and the rest is counted."""
    requests = [create(number, size=900, spans=1 + number % 3) for number in range(40)]
    run = Run(tmp_path / "spool")
    run.look_around()
    run.put(*requests[:30])
    run.outbox.before_fork()
    (database,) = (tmp_path / "spool").glob("*.sqlite")
    with database.open("r+b") as file:
        file.seek(PAGE * 6)
        file.write(b"\xa5" * PAGE * 2)
    run.put(*requests[30:])
    found: list[Parcel] = []
    for _ in range(3):
        run.now += 5.0
        found = run.contents()

    assert all(request in requests for request in found)
    spans = sum(len(request.spans) for request in requests)
    assert sum(len(request.spans) for request in found) + run.gone["spool_damaged"] == spans
    assert 0 < run.gone["spool_damaged"] < spans
    run.put(create(1000))
    assert run.outbox.is_kept
