"""Waiting parcels in the files of a directory, where they survive the process.

The directory has one file of each process that used it, dead or alive, the tokens that they share, and what the server
refused.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import os
import secrets
import sqlite3
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar, Final

import orjson

from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.outbox import Tended
from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.spool.destination import SUFFIX, Destination
from pandaprobe_otel.delivery.spool.drafts import Draft, requests_of
from pandaprobe_otel.delivery.spool.lock_file import TakenOverError, locked
from pandaprobe_otel.delivery.spool.spool_file import (
    DAMAGED_SUFFIX,
    SpoolFile,
    age,
    is_damage,
    noted,
)
from pandaprobe_otel.mapping.encoded_spans import EncodedSpans
from pandaprobe_otel.transport.trace_file import line_of

MAX_BYTES: Final = 512 << 20
"""Bound on the bytes of waiting parcels on disk."""
SCAN_EVERY_S: Final = 5.0
"""Seconds between two searches for files of dead processes."""
_FIRST_RETRY_S: Final = 1.0
_LAST_RETRY_S: Final = 30.0
_MOST_POSTPONED: Final = 10_000
_SMALL: Final = 16 << 20
"""Size above which an empty file is recreated, because SQLite keeps the space, and an adopted one gets no new parcels.
"""
_MOST_ADOPTED: Final = 8
"""Bound on open files of dead processes. Further files wait until one of them is empty."""
_KEPT_DAMAGED: Final = 3
MAX_REFUSED_BYTES: Final = 16 << 20
REFUSED: Final = "refused-*.jsonl"
"""Names of the files of refused parcels; the star stands for the digest of the destination."""

_ERRORS: Final = (sqlite3.Error, OSError)


class SpoolStore:
    """Storage in SQLite files. What cannot be written stays with the outbox, which offers it again.

    Not thread-safe: the outbox calls it under the lock of `SenderPool`. No method raises, except `open_own`.
    """

    _is_unsafe: ClassVar[bool] = False
    """True if this process was forked while another thread may have been inside SQLite. The copies of the locks that it
    held stay held for ever, so the disk is not used.
    """

    def __init__(
        self,
        path: Path,
        destination: Destination,
        *,
        notices: Notices,
        max_bytes: int = MAX_BYTES,
        scan_every_s: float = SCAN_EVERY_S,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._destination = destination
        self._wall = wall
        self._notices = notices
        self._max_bytes = max_bytes
        self._scan_every_s = scan_every_s
        self._monotonic = monotonic
        # Microseconds since the epoch: no earlier run has used these numbers in a file that this process may take over.
        self._rows = itertools.count(time.time_ns() // 1000)
        self.own: SpoolFile | None = None
        """File for new parcels, once there are any."""
        self.files: list[SpoolFile] = []
        """That file, and those of dead processes."""
        self._living, self._living_bytes = 0, 0
        """Other processes that hold a file for the same destination, and the size of their files."""
        self._has_more = False
        """True if files of dead processes wait until fewer are open."""
        self._ignored: set[Path] = set()
        self._postponed: dict[str, Draft] = {}
        """Traces whose drafts could not be replaced, with the latest change of each. Unless they are, the next process
        sends spans again that are parcels now.
        """
        self._suspects: dict[SpoolFile, Exception] = {}
        """Files with damage."""
        self._retry_at = math.inf
        self._retry_s = _FIRST_RETRY_S
        self._scan_at = -math.inf
        self.works = True
        """True if the last write succeeded."""
        if self._is_unsafe:
            self._turn_off()

    @property
    def tend_at(self) -> float:
        """Time at which to call `tend`."""
        return -math.inf if self._suspects else min(self._scan_at, self._retry_at)

    @property
    def has_more(self) -> bool:
        """True if the directory has not been searched yet, or if files of dead processes wait until fewer are open."""
        return self._has_more or self._scan_at == -math.inf

    @property
    def is_behind(self) -> bool:
        """True if drafts are to be replaced, now that the disk works again."""
        return self.works and bool(self._postponed)

    def room(self) -> tuple[int, int]:
        """Return the used bytes, and their bound: what other processes leave of it, but at least an equal share."""
        bound = max(self._max_bytes // (self._living + 1), self._max_bytes - self._living_bytes)
        return sum(file.bytes for file in self.files), bound

    # -- writing and reading ------------------------------------------------------------------------------------------

    def write(self, changed: dict[Parcel, None], drafts: Sequence[Draft] = ()) -> bool:
        """Write changes, and take those that are written out of `changed`; return whether all are.

        Each file gets one transaction. A new parcel has a `file` afterwards.
        """
        with self._guarded():
            drafts = [*self._postponed.values(), *drafts]
            self._postponed = {draft.trace_id: draft for draft in drafts[:_MOST_POSTPONED] if draft.replaces}
            if not self.works:
                return False
            by_file: defaultdict[SpoolFile | None, list[Parcel]] = defaultdict(list)
            if drafts:
                by_file[self.own] = []
            for parcel in changed:
                by_file[parcel.file or self.own].append(parcel)
            for file, parcels in by_file.items():
                is_own = file is self.own
                if is_own or file in self.files:  # else it was given up, and so are the parcels that only it had
                    if not self._write_to(file, parcels, drafts if is_own else ()):
                        continue
                    self._postponed = {} if is_own else self._postponed
                for parcel in parcels:
                    del changed[parcel]
            return not changed and self.works
        return False

    def read(self, parcel: Parcel) -> tuple[bytes, EncodedSpans] | None:
        """Return the fields and spans of a parcel; None if they cannot be read now."""
        file = parcel.file
        with self._guarded():
            try:
                return file.content(parcel.row) if file is not None and file in self.files else None
            except _ERRORS as error:
                self._suspect(file, error)
        return None

    def _write_to(self, file: SpoolFile | None, parcels: Sequence[Parcel], drafts: Sequence[Draft]) -> bool:
        """Write to a file; None: to the process's own one, which does not exist yet."""
        rows: dict[Parcel, int] = {}
        try:
            file = file or self.open_own()
            with file.transaction():
                for parcel in parcels:
                    if parcel.file is None:
                        rows[parcel] = next(self._rows)
                        file.insert(rows[parcel], parcel)
                    else:
                        file.update(parcel)
                for draft in drafts:
                    file.change_draft(draft, self._rows)
        except _ERRORS as error:
            self._suspect(file, error)
            return False
        for parcel, row in rows.items():
            parcel.file, parcel.row, parcel.stored = file, row, parcel.size
        return True

    def open_own(self, copied: SpoolFile | None = None) -> SpoolFile:
        """Return the file for new parcels; create it if necessary, as a copy of another one.

        Raises OSError and sqlite3.Error.
        """
        while self.own is None:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = f"{self._destination.digest}-{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
            self.own = SpoolFile.create(self._path / name, copied)
            if self.own is not None:
                self.files.append(self.own)
                self._note(self.own)
        return self.own

    @contextmanager
    def _guarded(self) -> Generator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the guard of the spool: a fault of ours turns it off, said once
            self._notices.say(
                "spool fault",
                "The spool failed inside pandaprobe-otel and is not written any more; please report this: "
                + "".join(traceback.format_exception(error)),
                level=logging.ERROR,
            )
            self._turn_off()

    def _turn_off(self) -> None:
        self.works, self._scan_at, self._retry_at = False, math.inf, math.inf
        self._suspects.clear()
        if self._is_unsafe:
            self._say_trouble("this process was forked while its parent wrote to it")

    # -- when the disk does not take it -------------------------------------------------------------------------------

    def _suspect(self, file: SpoolFile | None, error: Exception) -> None:
        """Note that a file, or the process's own one that is not there yet, cannot be used now or is damaged."""
        if file is not None and (is_damage(error) or isinstance(error, TakenOverError)):
            self._suspects[file] = error
            return
        if file is not None:
            file.close()
        self.works = False
        self._retry_at = self._monotonic() + self._retry_s
        self._retry_s = min(self._retry_s * 2, _LAST_RETRY_S)
        self._say_trouble(error)

    def try_again(self) -> None:
        """Find out whether the disk can be written again, if it has failed."""
        if self._retry_at == math.inf:
            return
        self._retry_at = math.inf
        try:
            with self.open_own().transaction():
                pass
        except _ERRORS as error:
            self._suspect(self.own, error)
            return
        self.works, self._retry_s = True, _FIRST_RETRY_S
        self._notices.over("spool")
        self._notices.say("spool works", f"The spool {self._path} can be written again.", level=logging.INFO)
        self._notices.over("spool works")

    def _say_trouble(self, error: object) -> None:
        self._notices.say(
            "spool",
            f"The spool {self._path} cannot be written ({error}). Until it can, traces wait only in memory and do not "
            "survive the process.",
        )

    def _put_aside(self, parcels: Sequence[Parcel], tended: Tended) -> None:
        """Rename damaged files. Their parcels are written anew if they are in memory, or else given up.

        A file that was deleted can still be read, and is copied as a whole.
        """
        suspects, self._suspects = self._suspects, {}
        for file, error in suspects.items():
            if file not in self.files:
                continue
            self._forget(file)
            is_taken, copy = isinstance(error, TakenOverError), None
            if isinstance(error, FileNotFoundError):
                try:
                    copy = self.open_own(file)
                except _ERRORS as failure:
                    self._suspect(None, failure)
            there = [parcel for parcel in parcels if parcel.file is file]
            gone = [parcel for parcel in there if copy is None and (is_taken or parcel.is_bare)]
            tended.gone += [(parcel, "taken_over" if is_taken else "spool_damaged") for parcel in gone]
            if not is_taken:
                self._move_aside(file, error, kept=len(there) - len(gone))
            for parcel in there:
                parcel.file, parcel.stored = copy, 0 if copy is None else parcel.stored

    def _move_aside(self, file: SpoolFile, error: Exception, *, kept: int) -> None:
        """Rename a damaged file. The newest few are kept for inspection."""
        self._forget(file)
        file.move_aside()
        damaged = sorted(self._path.glob(f"*{SUFFIX}{DAMAGED_SUFFIX}"), key=age)
        for path in damaged[:-_KEPT_DAMAGED]:
            for name in (path, path.with_name(path.name.removesuffix(DAMAGED_SUFFIX) + "-wal" + DAMAGED_SUFFIX)):
                with suppress(OSError):
                    name.unlink()
        self._notices.say(
            "spool damaged",
            f"The spool {self._path} has lost a file ({file.path.name}: {error}); {kept} of its requests are kept. The "
            "damaged file is renamed to *.damaged.",
        )

    # -- looking after the files --------------------------------------------------------------------------------------

    def tend(self, parcels: Callable[[], Iterable[Parcel]], now: float) -> Tended:
        """Rename damaged files, try the disk again after a failure, and adopt the files of dead processes."""
        tended = Tended()
        with self._guarded():
            if now >= self._scan_at and self.own is not None and not self.own.is_in_place:
                self._suspects[self.own] = FileNotFoundError("it was deleted")
            if self._suspects:
                self._put_aside([*parcels()], tended)
            if now >= self._retry_at:
                self.try_again()
            if now >= self._scan_at:
                self._scan_at = now + self._scan_every_s
                self._look_around(now, tended)
        return tended

    def _look_around(self, now: float, tended: Tended) -> None:
        if (danger := self._danger()) is not None:  # each time, because others may create the directory first
            self._notices.say("spool folder", f"The spool {self._path} {danger}.")
        try:
            self._claim(now, tended)
        except OSError as error:
            self._notices.say("spool search", f"The spool {self._path} cannot be read ({error}).")
        for file in [*self.files]:
            self._tidy(file)

    def _danger(self) -> str | None:
        """Return the reason why other users could read or add traces here; None if the directory is safe."""
        try:
            about = self._path.stat()
        except OSError:
            return None  # it is created with the first request
        if about.st_mode & 0o022:
            return (
                f"can be written by other users (mode {about.st_mode & 0o777:o}), who may add or read traces: chmod 700"
            )
        if about.st_uid != os.geteuid():
            return f"belongs to another user (uid {about.st_uid}), who may add or read traces"
        return None

    def _claim(self, now: float, tended: Tended) -> None:
        """Take the files of dead processes, oldest first, as many as may be open; count the others."""
        self._living, self._living_bytes, self._has_more = 0, 0, False
        mine = {file.path for file in self.files}
        for path in sorted(self._path.glob(f"{self._destination.digest}-*{SUFFIX}"), key=age):
            if path in mine or path in self._ignored:
                continue
            try:
                file = SpoolFile.take(path)
            except PermissionError:  # belongs to another user
                self._ignored.add(path)
                continue
            if file is None:
                self._living += 1
                with suppress(OSError):
                    self._living_bytes += path.stat().st_size
            elif len(self.files) > _MOST_ADOPTED:
                file.release()
                self._has_more = True
                return
            else:
                self._adopt(file, now, tended)

    def _adopt(self, file: SpoolFile, now: float, tended: Tended) -> None:
        """Take over the parcels of a dead process, and make some of its open traces."""
        why = f"The spool {self._path} has a file that cannot be used"
        try:
            with file.transaction():
                for drafted, is_open in file.drafts():
                    for parcel in requests_of(drafted, is_open=is_open):
                        parcel.in_doubt = parcel.step is Step.CREATE
                        file.insert(max(next(self._rows), file.last_row() + 1), parcel)
                file.forget_drafts()
            if not file.count()[0]:
                file.remove()
                return
            found = file.found(now, wall=self._wall())
            may_be_own = self.own is None and file.bytes_on_disk <= _SMALL
            if may_be_own and file.last_row() < next(self._rows):
                self.own = file
            self.files.append(file)
            tended.found += found
        except sqlite3.NotSupportedError as error:
            file.release()
            self._ignored.add(file.path)
            self._notices.say("spool file", f"{why} ({file.path.name} {error}); it is left alone.")
        except _ERRORS as error:
            if is_damage(error):
                tended.damaged_spans += _spans_in(file)
                self._move_aside(file, error, kept=0)
            else:
                file.release()
                self._notices.say("spool file", f"{why} now ({file.path.name}: {error}).")

    def _tidy(self, file: SpoolFile) -> None:
        """Delete an empty file, unless it is this process's own and small; write notes about the others."""
        try:
            if file.is_empty() and (file is not self.own or file.bytes_on_disk > _SMALL):
                self._forget(file)
                file.remove()
                if self._has_more:
                    self._scan_at = -math.inf
            else:
                self._note(file)
        except _ERRORS as error:
            self._suspect(file, error)

    def _note(self, file: SpoolFile) -> None:
        """Write a note about a file's owner and content beside it, for people who inspect the directory."""
        requests, spans = file.count()
        about = {
            "pid": os.getpid(),
            "endpoint": self._destination.endpoint,
            "project": self._destination.project,
            "requests": requests,
            "spans": spans,
            "bytes": file.bytes,
            "at": round(time.time(), 1),
        }
        file.lock.note(json.dumps(about).encode())

    def _forget(self, file: SpoolFile) -> None:
        """Take a file from the files in use."""
        if file in self.files:
            self.files.remove(file)
        if self.own is file:
            self.own = None

    # -- what the server refused --------------------------------------------------------------------------------------

    def keep_refused(self, parcel: Parcel, words: str, *, max_bytes: int = MAX_REFUSED_BYTES) -> None:
        """Append a refused parcel, with the server's words, to the file that `pandaprobe-otel send` sends again.

        Its line is that of a file of traces (`transport/trace_file.py`) with one more key, `refused`. Above
        `max_bytes`, the older half of the file goes.
        """
        method, path = parcel.target.split(" ", 1)
        note = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "endpoint": self._destination.endpoint,
            "project": self._destination.project,
            "request": parcel.target,
            "name": parcel.name.encode("utf-8", "replace").decode(),
            "spans": parcel.span_count,
            "server": words.encode("utf-8", "replace").decode(),
        }
        body = line_of(method, path, parcel.body(), parcel.project) or b"{}\n"
        line = b"".join((body[:-2], b',"refused":', orjson.dumps(note), b"}\n"))
        try:
            with locked(self._path / REFUSED.replace("*", self._destination.digest)) as file:
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
        except OSError as error:
            self._say_trouble(error)

    # -- the process around it ----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the store at the end of the process: delete empty files, and release the others for any process."""
        for file in self.files:
            try:
                is_empty = file.is_empty()
            except _ERRORS:
                is_empty = False
            if is_empty:
                file.remove()
            else:
                file.release()
        self.files, self.own, self.works = [], None, False

    def before_fork(self) -> None:
        """Close every connection, because one that crosses a fork breaks the database. They reopen when needed."""
        for file in self.files:
            file.close()

    def abandon(self, *, is_quiet: bool) -> None:
        """Drop, in a forked child, everything that belongs to the parent, without closing or unlocking it.

        `is_quiet`: no thread wrote to the disk during the fork.
        """
        for file in self.files:
            file.abandon()
        self.files, self.own = [], None
        if not is_quiet:
            SpoolStore._is_unsafe = True


def _spans_in(file: SpoolFile) -> int:
    """Return the number of waiting spans in a damaged file, as far as it is known."""
    try:
        return file.count()[1]
    except _ERRORS:
        spans = noted(file.path).get("spans")
        return spans if isinstance(spans, int) else 0
