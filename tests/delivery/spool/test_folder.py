"""Any directory that a setting may name or that others may have made: it is safe, or the log names it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel.delivery.spool.lease_file import FileTokens
from spools import DESTINATION, Run, create

KINDS = ("directory", "link", "dangling link", "file", "pipe", "nothing")
MEMORY_DISK = "/dev/shm" if os.path.isdir("/dev/shm") else None
OWNERS = (os.geteuid(), 12345) if os.geteuid() == 0 else (os.geteuid(),)
"""Only root can give a directory away."""


@pytest.fixture(scope="module")
def logged() -> Iterator[list[str]]:
    """Return the log lines, as they come."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("pandaprobe_otel")
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def make(path: Path, kind: str, *, mode: int, owner: int) -> None:
    """Make what is at the path of the spool before this process uses it."""
    real = path.with_name("elsewhere") if "link" in kind else path
    if kind in ("directory", "link"):
        real.mkdir()
        os.chown(real, owner, -1)
        real.chmod(mode)
    elif kind == "file":
        real.touch()
    elif kind == "pipe":
        os.mkfifo(real)
    if "link" in kind:
        path.symlink_to(real)


@settings(max_examples=50)
@given(
    kind=st.sampled_from(KINDS) | st.just("directory"),
    mode=st.integers(0, 0o777) | st.sampled_from([0o700, 0o777, 0o750]),
    owner=st.sampled_from(OWNERS),
    is_made_late=st.booleans(),
)
def test_a_directory_is_safe_or_named_once(
    logged: list[str], kind: str, mode: int, owner: int, is_made_late: bool
) -> None:
    """A directory that others own or may write to is used, since the user chose it, and is logged once."""
    logged.clear()
    with TemporaryDirectory(dir=MEMORY_DISK) as scratch:
        path = Path(scratch) / "spool"
        run = Run(path)
        if is_made_late:
            run.look_around()
        make(path, kind, mode=mode, owner=owner)
        run.put(create(1))
        for _ in range(3):
            run.look_around()
            run.now += 5.0
        is_kept = run.outbox.is_kept
        is_directory, is_usable = path.is_dir(), os.access(path, os.W_OK | os.X_OK)
        run.outbox.leave()
        left = [each.stat().st_mode & 0o777 for each in path.glob("*")] if is_usable and is_directory else []

    about_others = [line for line in logged if "other user" in line or "another user" in line]
    is_of_others = bool(mode & 0o022) or owner != os.geteuid()
    is_named = kind in ("directory", "link") and is_of_others
    assert len(about_others) == is_named
    assert is_kept == (is_directory and is_usable)
    assert is_kept == (not [line for line in logged if "cannot be" in line])
    assert not left or set(left) == {0o600}


PLANTED = (
    "leases", f"refused-{DESTINATION.digest}.jsonl",
    f"{DESTINATION.digest}-1-00.sqlite", f"{DESTINATION.digest}-1-00.sqlite.lock", f"{DESTINATION.digest}-2-00.sqlite",
    f"{DESTINATION.digest}-2-00.sqlite-wal",
)  # fmt: skip


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_no_planted_link_is_followed(tmp_path: Path, link: Callable[[Path, Path], None]) -> None:
    """Links under every name that the spool uses leave their targets as they are, and everything is kept and sent."""
    folder, targets = tmp_path / "spool", tmp_path / "targets"
    folder.mkdir(mode=0o700)
    targets.mkdir()
    for name in PLANTED:
        (targets / name).write_bytes(name.encode() * 50)
        link(targets / name, folder / name)

    tokens = FileTokens(folder / "leases")
    assert tokens.take(100, 0.0) == -1
    run = Run(folder)
    run.look_around()
    refused, kept = run.put(create(1), create(2))
    run.start(refused)
    run.outbox.keep_refused(refused, "no", 0.0)
    run.done(refused)
    run.outbox.leave()

    assert [request.trace_id for request in Run(folder).contents()] == [kept.trace_id]
    assert [name for name in PLANTED if (targets / name).read_bytes() != name.encode() * 50] == []
