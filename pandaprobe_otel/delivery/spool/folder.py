"""Directory of the spool: this process's own file, those of dead processes, and those of living ones."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import orjson

from pandaprobe_otel.delivery.parcel import Parcel
from pandaprobe_otel.delivery.spool.destination import SUFFIX, Destination
from pandaprobe_otel.delivery.spool.lock_file import LockFile, locked, write_in_place
from pandaprobe_otel.delivery.spool.spool_file import DAMAGED_SUFFIX, LOCK_SUFFIX, SpoolFile, lock_path
from pandaprobe_otel.transport.trace_file import line_of

MOST_ADOPTED: Final = 8
"""Bound on open files of dead processes. Further files wait until one of them is empty."""
_KEPT_DAMAGED: Final = 3
MAX_REFUSED_BYTES: Final = 16 << 20
REFUSED: Final = "refused-*.jsonl"
"""Names of the files of refused parcels; the star stands for the digest of the destination."""
_BODY_CAP_AGE_S: Final = 7 * 24 * 3600.0
"""Time after which the largest body is learned again: the server or proxy that refused more may have changed."""


class SpoolFolder:
    """Files in use. Methods raise OSError and sqlite3.Error."""

    def __init__(self, path: Path, destination: Destination) -> None:
        self.path = path
        self.destination = destination
        self._body_cap = path / f"body-cap-{destination.digest}"
        self.own: SpoolFile | None = None
        """File for new parcels, once there are any."""
        self.files: list[SpoolFile] = []
        """That file, and those of dead processes."""
        self.living = 0
        """Other processes that hold a file for the same destination. `living_bytes`: the size of their files."""
        self.living_bytes = 0
        self.has_more = False
        """True if files of dead processes wait until fewer are open."""
        self._ignored: set[Path] = set()

    def open_own(self) -> SpoolFile:
        """Return the file for new parcels; create it if necessary."""
        while self.own is None:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.own = SpoolFile.create(self._new_path())
            if self.own is not None:
                self.files.append(self.own)
                self.note(self.own)
        return self.own

    def danger(self) -> str | None:
        """Return the reason why other users could read or add traces here; None if the directory is safe."""
        try:
            about = self.path.stat()
        except OSError:
            return None  # it is created with the first request
        if about.st_mode & 0o022:
            return (
                f"can be written by other users (mode {about.st_mode & 0o777:o}), who may add or read traces: chmod 700"
            )
        if about.st_uid != os.geteuid():
            return f"belongs to another user (uid {about.st_uid}), who may add or read traces"
        if self.path.is_symlink():
            return f"is a link to {self.path.resolve()}: anybody who can change the link can move the traces"
        with suppress(OSError):  # no permission to list it
            if link := next((path.name for path in self.path.iterdir() if path.is_symlink()), None):
                return f"has a link, which is not followed: remove {link}"
        return None

    def claim(self) -> Iterator[SpoolFile]:
        """Take the files of dead processes, oldest first, as many as may be open; count the others."""
        self.living, self.living_bytes = 0, 0
        self.has_more = False
        self._remove_strays()
        mine = {file.path for file in self.files}
        for path in sorted(self.path.glob(f"{self.destination.digest}-*{SUFFIX}"), key=age):
            if path in mine or path in self._ignored:
                continue
            file = self._take(path)
            if file is not None and len(self.files) > MOST_ADOPTED:
                file.release()
                self.has_more = True
                return
            if file is not None:
                yield file
            else:
                self.living += 1
                with suppress(OSError):
                    self.living_bytes += path.stat().st_size

    def keep(self, file: SpoolFile, *, as_own: bool) -> None:
        """Add a claimed file to the files in use."""
        self.files.append(file)
        if as_own:
            self.own = file

    def forget(self, file: SpoolFile) -> None:
        """Take a file from the files in use."""
        if file in self.files:
            self.files.remove(file)
        if self.own is file:
            self.own = None

    def leave(self, file: SpoolFile, *, for_good: bool) -> None:
        """Leave a claimed file to other processes, for now or for good."""
        self.forget(file)
        file.release()
        if for_good:
            self._ignored.add(file.path)

    def drop(self, file: SpoolFile) -> None:
        """Delete a file that is no longer needed."""
        self.forget(file)
        file.remove()

    def move_aside(self, file: SpoolFile) -> None:
        """Rename a damaged file. The newest few are kept for inspection."""
        self.forget(file)
        file.move_aside()
        damaged = sorted(self.path.glob(f"*{SUFFIX}{DAMAGED_SUFFIX}"), key=age)
        for path in damaged[:-_KEPT_DAMAGED]:
            for name in (path, path.with_name(path.name.removesuffix(DAMAGED_SUFFIX) + "-wal" + DAMAGED_SUFFIX)):
                with suppress(OSError):
                    name.unlink()

    def abandon(self) -> None:
        """Release every lock in a forked child."""
        for file in self.files:
            file.abandon()
        self.files, self.own = [], None

    def try_out(self) -> None:
        """Create, write and delete a file, to find out whether SQLite works in this process."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = SpoolFile.create(self._new_path())
        if file is not None:
            with file.transaction():
                file.forget_drafts()
            file.remove()

    def note(self, file: SpoolFile) -> None:
        """Write a note about a file's owner and content beside it, for people who inspect the directory."""
        requests, spans = file.count()
        about = {
            "pid": os.getpid(),
            "endpoint": self.destination.endpoint,
            "project": self.destination.project,
            "requests": requests,
            "spans": spans,
            "bytes": file.bytes,
            "at": round(time.time(), 1),
        }
        file.lock.note(json.dumps(about).encode())

    def read_body_cap(self) -> int | None:
        """Return the size of the largest body that the server accepts; None if it is unknown or outdated."""
        try:
            is_recent = abs(time.time() - self._body_cap.stat().st_mtime) < _BODY_CAP_AGE_S
            return int(self._body_cap.read_text("ascii")) if is_recent else None
        except (OSError, ValueError):
            return None

    def write_body_cap(self, size: int) -> None:
        """Store that size for later processes. A failure costs them one more refused request."""
        with suppress(OSError):
            write_in_place(self._body_cap, b"%20d" % size)

    def keep_refused(self, parcel: Parcel, words: str, *, max_bytes: int = MAX_REFUSED_BYTES) -> None:
        """Append a refused parcel, with the server's words, to the file that `pandaprobe-otel send` sends again.

        Its line is that of a file of traces (`transport/trace_file.py`) with one more key, `refused`. Above
        `max_bytes`, the older half of the file goes. Raises OSError.
        """
        method, path = parcel.target.split(" ", 1)
        note = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "endpoint": self.destination.endpoint,
            "project": self.destination.project,
            "request": parcel.target,
            "name": parcel.name.encode("utf-8", "replace").decode(),
            "spans": parcel.span_count,
            "server": words.encode("utf-8", "replace").decode(),
        }
        body = line_of(method, path, parcel.body()) or b"{}\n"
        line = b"".join((body[:-2], b',"refused":', orjson.dumps(note), b"}\n"))
        with locked(self.path / REFUSED.replace("*", self.destination.digest)) as file:
            size = os.fstat(file).st_size
            if size + len(line) > max_bytes:
                newer = os.pread(file, size, max(size - max_bytes // 2, 0)).partition(b"\n")[2]
                os.pwrite(file, newer, 0)
                os.ftruncate(file, size := len(newer))
            if size and os.pread(file, 1, size - 1) != b"\n":  # its writer was killed
                line = b"\n" + line
            if os.pwrite(file, line, size) < len(line):
                os.ftruncate(file, size)
                raise OSError("the disk is full")

    def _new_path(self) -> Path:
        return self.path / f"{self.destination.digest}-{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"

    def _take(self, path: Path) -> SpoolFile | None:
        try:
            return SpoolFile.take(path)
        except PermissionError:  # belongs to another user
            self._ignored.add(path)
            return None

    def _remove_strays(self) -> None:
        """Remove locks without a database: a process was killed while it created or deleted the two."""
        for lock in self.path.glob(f"{self.destination.digest}-*{SUFFIX}{LOCK_SUFFIX}"):
            database = lock.with_name(lock.name.removesuffix(LOCK_SUFFIX))
            if database.exists() or any(file.path == database for file in self.files):
                continue
            with suppress(OSError):
                held = LockFile.take(lock)
                if held is not None and lock_path(database) == lock and not database.exists():
                    held.remove()
                elif held is not None:
                    held.close()


def age(path: Path) -> float:
    """Return the time of a file's last change, by which the oldest file comes first; 0 if it is gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
