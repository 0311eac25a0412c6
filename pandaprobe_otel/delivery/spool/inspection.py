"""Inspection of a spool directory from outside, and changes that are safe while services use it."""

from __future__ import annotations

import json
import logging
import secrets
import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pandaprobe_otel.delivery.spool.dead_letters import Letter
from pandaprobe_otel.delivery.spool.destination import SUFFIX, Destination
from pandaprobe_otel.delivery.spool.folder import age
from pandaprobe_otel.delivery.spool.log_repair import LogState
from pandaprobe_otel.delivery.spool.rows import OWN
from pandaprobe_otel.delivery.spool.spool_file import DAMAGED_SUFFIX, SpoolFile, lock_path
from pandaprobe_otel.transport.server_text import json_object

_DIGEST_LENGTH: Final = 16
_logger = logging.getLogger("pandaprobe_otel")

State = Literal["in use", "waiting", "unreadable", "damaged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReport:
    """Report on one file. If the file is in use, the numbers are from its owner's note, up to 5 s old."""

    name: str
    state: State
    """`in use`: by a living process; `waiting`: for the next process with the same settings; `damaged`: renamed."""
    pid: int | None = None
    endpoint: str | None = None
    project: str | None = None
    requests: int | None = None
    spans: int | None = None
    bytes: int = 0


def reports(folder: Path) -> list[FileReport]:
    """Return the content of each file of a directory, oldest first."""
    files = [_report(path) for path in sorted(folder.glob(f"*{SUFFIX}"), key=age)]
    damaged = sorted(folder.glob(f"*{SUFFIX}{DAMAGED_SUFFIX}"), key=age)
    return files + [FileReport(name=path.name, state="damaged", bytes=path.stat().st_size) for path in damaged]


def send_again(folder: Path, letters: Iterable[Letter]) -> int:
    """Let the next process with the settings of each refused request send it again; return their number.

    Raises sqlite3.Error and OSError. Damaged requests are left out.
    """
    by_digest: dict[str, list[Letter]] = {}
    for letter in letters:
        if letter.request is not None:
            by_digest.setdefault(letter.digest, []).append(letter)
    for digest, mine in by_digest.items():
        _write(folder, digest, mine)
    return sum(len(mine) for mine in by_digest.values())


def take_to(folder: Path, destination: Destination) -> int:
    """Readdress requests that wait for the same endpoint and project under another key; return their number.

    Files of living processes are left alone. Raises OSError.
    """
    moved = 0
    for path in sorted(folder.glob(f"*{SUFFIX}"), key=age):
        report = _report(path)
        is_meant = (report.endpoint, report.project) == (destination.endpoint, destination.project)
        if report.state != "waiting" or not is_meant or path.name.startswith(destination.digest):
            continue
        file = SpoolFile.take(path, OWN)
        if file is None:
            continue
        file.open()
        file.close()
        if Path(f"{path}-wal").exists():  # the disk is full; else the log is in the database now
            file.release()
            continue
        path.rename(path.with_name(destination.digest + path.name[_DIGEST_LENGTH:]))
        file.lock.remove()
        moved += report.requests or 0
    return moved


def discard(folder: Path) -> int:
    """Delete all damaged files and those of dead processes; return the number of waiting requests deleted."""
    gone = 0
    for report in reports(folder):
        path = folder / report.name
        if report.state == "damaged":
            with suppress(OSError):
                path.unlink()
        elif report.state != "in use" and (file := SpoolFile.take(path, OWN)) is not None:
            gone += report.requests or 0
            file.remove()
    return gone


def _report(path: Path) -> FileReport:
    noted = _noted(path)
    about: dict[str, Any] = {key: noted.get(key) for key in ("endpoint", "project")}
    try:
        size = path.stat().st_size
        file = SpoolFile.take(path, OWN)
    except OSError:
        return FileReport(name=path.name, state="unreadable", **about)
    if file is None:
        numbers = {key: noted.get(key) for key in ("pid", "requests", "spans")}
        return FileReport(name=path.name, state="in use", bytes=size, **numbers, **about)
    try:
        requests, spans = file.count()
        if file.log_state is not LogState.SOUND:  # its next owner finds the repaired log
            _logger.warning("pandaprobe-otel: the spool file %s has %s.", path.name, file.log_state.value)
        return FileReport(name=path.name, state="waiting", bytes=size, requests=requests, spans=spans, **about)
    except (sqlite3.Error, OSError):
        return FileReport(name=path.name, state="unreadable", bytes=size, **about)
    finally:
        file.release()


def _noted(path: Path) -> dict[str, Any]:
    try:
        return json_object(lock_path(path).read_bytes())
    except OSError:
        return {}


def _write(folder: Path, digest: str, letters: Sequence[Letter]) -> None:
    file: SpoolFile | None = None
    while file is None:
        file = SpoolFile.create(folder / f"{digest}-again-{secrets.token_hex(4)}{SUFFIX}", OWN)
    about = {"endpoint": letters[0].endpoint, "project": letters[0].project}
    file.lock.note(json.dumps(about).encode())
    row = time.time_ns() // 1000
    try:
        with file.transaction():
            for number, letter in enumerate(letters):
                if letter.request is not None:
                    file.insert(row + number, letter.request)
    finally:
        file.release()
