"""Inspection of a spool directory from outside, and changes that are safe while services use it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

from pandaprobe_otel.delivery.spool.destination import SUFFIX, Destination
from pandaprobe_otel.delivery.spool.spool_file import DAMAGED_SUFFIX, SpoolFile, age, noted
from pandaprobe_otel.delivery.spool.store import REFUSED
from pandaprobe_otel.transport.outcome import json_object

_DIGEST_LENGTH: Final = 16

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One refused request, without its body. `line` is its number in the file."""

    file: str
    line: int
    at: str
    project: str
    request: str
    name: str
    spans: int
    server: str


def reports(folder: Path) -> list[FileReport]:
    """Return the content of each file of a directory, oldest first."""
    files = [_report(path) for path in sorted(folder.glob(f"*{SUFFIX}"), key=age)]
    damaged = sorted(folder.glob(f"*{SUFFIX}{DAMAGED_SUFFIX}"), key=age)
    return files + [FileReport(name=path.name, state="damaged", bytes=path.stat().st_size) for path in damaged]


def refusals(folder: Path) -> Iterator[Refusal]:
    """Yield the refused requests of a directory, oldest first. Raises OSError."""
    for path in sorted(folder.glob(REFUSED)):
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                note = json_object(line).get("refused")
                if isinstance(note, dict):
                    given = cast("dict[str, Any]", note)
                    texts = {key: str(given.get(key, "")) for key in ("at", "project", "request", "name", "server")}
                    spans = given.get("spans")
                    yield Refusal(file=path.name, line=number, spans=spans if isinstance(spans, int) else 0, **texts)


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
        file = SpoolFile.take(path)
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


def _report(path: Path) -> FileReport:
    note = noted(path)
    about: dict[str, Any] = {key: note.get(key) for key in ("endpoint", "project")}
    try:
        size = path.stat().st_size
        file = SpoolFile.take(path)
    except OSError:
        return FileReport(name=path.name, state="unreadable", **about)
    if file is None:
        numbers = {key: note.get(key) for key in ("pid", "requests", "spans")}
        return FileReport(name=path.name, state="in use", bytes=size, **numbers, **about)
    try:
        requests, spans = file.count()
        return FileReport(name=path.name, state="waiting", bytes=size, requests=requests, spans=spans, **about)
    except (sqlite3.Error, OSError):
        return FileReport(name=path.name, state="unreadable", bytes=size, **about)
    finally:
        file.release()
