"""A bit flipped anywhere in any file of a spool: nothing raises, nothing wrong is sent, and every loss is logged."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pandaprobe_otel.delivery.budget import LeasedBucket
from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest
from pandaprobe_otel.delivery.spool.dead_letters import DeadLetters
from pandaprobe_otel.delivery.spool.inspection import reports
from pandaprobe_otel.delivery.spool.lease_file import FileTokens
from rings import IN_FULL
from spools import DESTINATION, Run, create

REQUESTS = [create(number, size=200 + 60 * (number % 7), spans=1 + number % 2) for number in range(24)]
REFUSED = create(900, size=300)
CLOCK_S = 1000.0
FIRST_PAGE = 4096
SPANS = sum(request.span_count for request in REQUESTS)
MEMORY_DISK = "/dev/shm" if os.path.isdir("/dev/shm") else None


def bucket(folder: Path) -> LeasedBucket:
    """Return the budget of a process that uses the directory."""
    return LeasedBucket(tokens=FileTokens(folder / KINDS[4], clock=lambda: CLOCK_S), clock=lambda: CLOCK_S)


def refuse(run: Run, request: OutgoingRequest) -> None:
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
        ended.put(*REQUESTS[:12])
        ended.die()
        run = Run(folder)
        refuse(run, REFUSED)
        run.outbox.remember_cap(1 << 20)
        for request in REQUESTS[12:]:
            run.put(request)
        for _ in range(30):
            assert bucket(folder).acquire(0.0) is not None
        bucket(folder).publish_cutoff(0.25, 0.0)
        files = {path.name: path.read_bytes() for place in (other, folder) for path in place.iterdir()}
        run.die()
        return files


KINDS = ("sqlite", "sqlite-wal", "sqlite.lock", "db", "leases-key", "cut", "body-cap-" + DESTINATION.digest)
"""The suffixes or names of all kinds of files in a spool."""


def files_of(kind: str) -> list[str]:
    """Return the names of the files of a kind."""
    return [name for name in left_behind() if kind in (name, name.partition(".")[2])]


def flipped(folder: Path, name: str, at: int) -> None:
    """Write the files to the directory, with one bit of one file flipped."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for each, content in left_behind().items():
        (folder / each).write_bytes(content)
    damaged = bytearray(left_behind()[name])
    damaged[at // 8] ^= 1 << at % 8
    (folder / name).write_bytes(damaged)


def refused_by(letters: DeadLetters) -> list[OutgoingRequest]:
    """Return the refused requests that can be read; a damaged file is moved aside."""
    with suppress(sqlite3.DatabaseError):
        return [letter.request for letter in letters.all() if letter.request is not None]
    return [letter.request for letter in letters.all() if letter.request is not None]


def is_said(heard: Sequence[str]) -> bool:
    """Return whether a log line reports something lost or left alone."""
    return any(word in line for line in heard for word in ("damaged", "has lost", "incomplete", "left alone"))


def examine(folder: Path, heard: list[str], *, looks_first: bool) -> int:
    """Use the directory as users and processes do; return the number of requests that are lost."""
    if looks_first:
        reports(folder)
    heir = Run(folder)
    found = heir.contents()
    lost = SPANS - sum(request.span_count for request in found)
    assert lost <= heir.gone.total() or is_said(heard)
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
    free = len(list(iter(lambda: tokens.acquire(0.0), None)))
    assert 70 <= free <= 71
    assert tokens.next_free(0.0) <= 100.0
    assert 0.0 <= tokens.publish_cutoff(0.0, 0.0) <= 1.0
    heir.outbox.leave()
    return len(REQUESTS) - len(found)


@pytest.fixture(scope="module")
def heard() -> Iterator[list[str]]:
    """Yield the list to which the log lines are added."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("pandaprobe_otel")
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("examples", [12, pytest.param(1500, marks=IN_FULL)])
def test_a_flipped_bit_is_survived_and_told(kind: str, examples: int, heard: list[str]) -> None:
    """A flipped bit loses little and is logged, even if a user reads the spool before the next process does."""

    @settings(max_examples=examples)
    @given(name=st.sampled_from(files_of(kind)), place=st.floats(0, 1, exclude_max=True), looks_first=st.booleans())
    def survives(name: str, place: float, looks_first: bool) -> None:
        heard.clear()
        with TemporaryDirectory(dir=MEMORY_DISK) as folder:
            flipped(Path(folder), name, int(place * len(left_behind()[name]) * 8))
            examine(Path(folder), heard, looks_first=looks_first)

    survives()


@pytest.mark.parametrize("bits", [25, pytest.param(FIRST_PAGE * 8, marks=IN_FULL)])
def test_a_bit_of_the_first_page_costs_nothing(bits: int, heard: list[str]) -> None:
    """A flipped bit in the first page loses nothing, since every file has the same tables and columns."""
    name = next(each for each in files_of("sqlite") if f"{each}-wal" not in left_behind())
    column = left_behind()[name].index(b"fields BLOB") * 8

    @settings(max_examples=bits)
    @example(place=column)
    @example(place=column + 16 * 8 + 7)  # in NOT NULL: SQLite's message is then not valid UTF-8
    @given(place=st.integers(0, FIRST_PAGE * 8 - 1).filter(lambda place: not 60 <= place // 8 < 64))
    def costs_nothing(place: int) -> None:
        with TemporaryDirectory(dir=MEMORY_DISK) as folder:
            flipped(Path(folder), name, place)
            assert examine(Path(folder), heard, looks_first=False) == 0

    costs_nothing()
