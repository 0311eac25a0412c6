"""Damaged files of a spool: nothing raises, only intact requests are sent, and the damaged file is renamed."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel.delivery.budget import LeasedBucket
from pandaprobe_otel.delivery.parcel import Step
from pandaprobe_otel.delivery.spool.inspection import reports
from pandaprobe_otel.delivery.spool.lease_file import FileTokens
from pandaprobe_otel.delivery.spool.spool_file import DAMAGED_SUFFIX
from rings import IN_FULL
from spools import Content, Run, content_of, create

STEPS = (*(Step.CREATE,) * 4, Step.APPEND)
REQUESTS = [
    replace(create(number, size=200 + 60 * (number % 7), spans=1 + number % 2), step=STEPS[number % 5])
    for number in range(44)
]
CONTENTS = [content_of(request) for request in REQUESTS]
CLOCK_S = 1000.0
PAGE = 4096
MEMORY_DISK = "/dev/shm" if os.path.isdir("/dev/shm") else None
KINDS = ("sqlite", "sqlite-wal", "sqlite.lock", "leases-key")
"""The suffixes or names of all kinds of files in a spool."""


def bucket(folder: Path) -> LeasedBucket:
    """Return the budget of a process that uses the directory."""
    return LeasedBucket(tokens=FileTokens(folder / "leases-key", clock=lambda: CLOCK_S), clock=lambda: CLOCK_S)


@cache
def left_behind() -> dict[str, bytes]:
    """Return the files of two killed processes: one with a write-ahead log, one without."""
    with TemporaryDirectory() as scratch:
        folder, other = Path(scratch) / "spool", Path(scratch) / "other"
        ended = Run(other)
        ended.put(*REQUESTS[:22])
        ended.look_around()  # writes the note
        ended.die()
        run = Run(folder)
        for request in REQUESTS[22:]:
            run.put(request)
        for _ in range(30):
            assert bucket(folder).acquire(0.0) is not None
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


def examine(folder: Path) -> list[Content]:
    """Use the directory as users and processes do; return the requests that are found."""
    reports(folder)
    heir = Run(folder)
    found = heir.contents()
    assert all(request in CONTENTS for request in found)
    heir.put(create(990))
    heir.now += 5.0
    heir.look_around()
    assert heir.outbox.is_kept
    tokens = bucket(folder)
    assert 70 <= len(list(iter(lambda: tokens.acquire(0.0), None))) <= 71
    assert tokens.next_free(0.0) <= 100.0
    heir.outbox.leave()
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("examples", [12, pytest.param(1500, marks=IN_FULL)])
def test_with_a_flipped_bit_only_intact_requests_are_sent(kind: str, examples: int) -> None:
    """With any bit flipped in any file, nothing raises, no altered request is sent, and new requests are kept."""

    @settings(max_examples=examples)
    @given(name=st.sampled_from(files_of(kind)), place=st.floats(0, 1, exclude_max=True))
    def survives(name: str, place: float) -> None:
        with TemporaryDirectory(dir=MEMORY_DISK) as folder:
            write(Path(folder), name, lambda content: flip(content, int(place * len(content) * 8)))
            examine(Path(folder))

    survives()


def cut(content: bytearray) -> None:
    """Cut a file in half."""
    del content[len(content) // 2 :]


def overwrite(content: bytearray) -> None:
    """Overwrite everything after the first page."""
    content[PAGE:] = b"\xa5" * (len(content) - PAGE)


def replace_all(content: bytearray) -> None:
    """Replace the content by something else."""
    content[:] = b"x" * 5000


@pytest.mark.parametrize("change", [cut, overwrite, replace_all])
def test_an_unreadable_file_is_renamed_counted_and_logged_once(
    change: Callable[[bytearray], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its spans count as dropped; the requests of other files are all found; three damaged files are kept."""
    write(tmp_path / "spool", name_of(DATABASE), change)
    heir = Run(tmp_path / "spool")
    found = heir.contents()

    assert found == CONTENTS[22:]
    assert heir.gone["spool_damaged"] == sum(request.span_count for request in REQUESTS[:22])
    assert len([line for line in caplog.messages if "has lost a file" in line]) == 1
    heir.outbox.leave()
    assert examine(tmp_path / "spool") == CONTENTS[22:]
    for number in range(6):
        (tmp_path / "spool" / name_of(DATABASE).replace(".sqlite", f"{number}.sqlite")).write_bytes(b"x" * 5000)
        Run(tmp_path / "spool").look_around()
    assert len(list((tmp_path / "spool").glob(f"*.sqlite{DAMAGED_SUFFIX}"))) == 3


def test_damage_while_the_process_runs(tmp_path: Path) -> None:
    """After damage, requests in memory are written again, and the rest is counted."""
    requests = [create(number, size=900, spans=1 + number % 3) for number in range(40)]
    run = Run(tmp_path / "spool")
    run.look_around()
    run.put(*requests[:30])
    run.store.before_fork()
    (database,) = (tmp_path / "spool").glob("*.sqlite")
    with database.open("r+b") as file:
        file.seek(PAGE * 6)
        file.write(b"\xa5" * PAGE * 2)
    run.put(*requests[30:])
    found: list[Content] = []
    for _ in range(3):
        run.now += 5.0
        found = run.contents()

    assert {*found} <= {content_of(request) for request in requests}
    spans = sum(request.span_count for request in requests)
    assert sum(request.span_count for request in found) + run.gone["spool_damaged"] == spans
    assert 0 < run.gone["spool_damaged"] < spans
    run.put(create(1000))
    assert run.outbox.is_kept


@pytest.mark.parametrize(
    "change",
    [
        "body SET fields = 7",
        "body SET spans = 7.5",
        "parcel SET spans = 'x'",
        "parcel SET put_at = 'x'",
    ],
)
def test_a_value_of_another_type_is_damage(tmp_path: Path, change: str, caplog: pytest.LogCaptureFixture) -> None:
    """A flipped bit may turn a value into one of another type; it costs the request, and no fault of ours."""
    first = Run(tmp_path)
    first.put(create(1))
    first.die()
    (path,) = tmp_path.glob("*.sqlite")
    with sqlite3.connect(path) as db:
        db.execute(f"UPDATE {change}")
    db.close()
    heir = Run(tmp_path)

    assert heir.contents() == []
    heir.put(create(2))
    assert heir.outbox.is_kept
    assert "please report" not in caplog.text
