"""Waiting parcels in the files of a directory, where they survive the process.

The directory has one file of each process that used it, dead or alive, the tokens that they share, and what the server
refused. A process has one file: its own, or the first that it finds of a dead process, and moves the parcels of others
there.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import sqlite3
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar, Final

import orjson

from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.outbox import Tended
from pandaprobe_otel.delivery.parcel import Parcel
from pandaprobe_otel.delivery.spool.destination import SUFFIX, Destination
from pandaprobe_otel.delivery.spool.drafts import Draft
from pandaprobe_otel.delivery.spool.lock_file import TakenOverError, locked
from pandaprobe_otel.delivery.spool.spool_file import (
    DAMAGED_SUFFIX,
    LARGEST_BATCH,
    MOST_TAKEN,
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
"""Size above which an empty file is recreated, because SQLite keeps the space."""
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
        self.own: SpoolFile | None = None
        """File of this process, once it has or finds parcels."""
        self._living, self._living_bytes = 0, 0
        """Other processes that hold a file for the same destination, and the size of their files."""
        self._has_more = False
        """True if files of dead processes are left."""
        self._ignored: set[Path] = set()
        self._postponed: dict[str, Draft] = {}
        """Traces whose drafts could not be replaced, with the latest change of each. Unless they are, the next process
        sends spans again that are parcels now.
        """
        self._loss: Exception | None = None
        """Reason why the file is not used any more: it is damaged, deleted, or another process has it."""
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
        return -math.inf if self._loss is not None else min(self._scan_at, self._retry_at)

    @property
    def has_more(self) -> bool:
        """True if the directory has not been searched yet, or if dead processes' files have not all been emptied."""
        return self._has_more or self._scan_at == -math.inf

    @property
    def is_behind(self) -> bool:
        """True if drafts are to be replaced, now that the disk works again."""
        return self.works and bool(self._postponed)

    def room(self) -> tuple[int, int]:
        """Return the used bytes, and their bound: what other processes leave of it, but at least an equal share."""
        bound = max(self._max_bytes // (self._living + 1), self._max_bytes - self._living_bytes)
        return 0 if self.own is None else self.own.bytes, bound

    # -- writing and reading ------------------------------------------------------------------------------------------

    def write(self, changed: Iterable[Parcel], drafts: Sequence[Draft] = ()) -> bool:
        """Write changes in one transaction; return whether that was possible. A new parcel has a `row` afterwards."""
        with self._guarded():
            drafts = [*self._postponed.values(), *drafts]
            self._postponed = {draft.trace_id: draft for draft in drafts[:_MOST_POSTPONED] if draft.replaces}
            if not self.works or self._loss is not None:
                return False
            now, wall = self._monotonic(), self._wall()
            try:
                own = self.open_own()
                with own.transaction():
                    places = [(parcel, own.write(parcel, wall - now + parcel.since)) for parcel in changed]
                    for draft in drafts:
                        own.change_draft(draft, wall)
            except _ERRORS as error:
                self._fail(error)
                return False
            for parcel, place in places:
                parcel.row, parcel.stored = place
            self._postponed = {}
            return True
        return False

    def read(self, parcel: Parcel) -> tuple[bytes, EncodedSpans] | None:
        """Return the fields and spans of a parcel; None if they cannot be read now."""
        with self._guarded():
            try:
                return None if self.own is None or self._loss is not None else self.own.content(parcel.row)
            except _ERRORS as error:
                self._fail(error)
        return None

    def open_own(self, copied: SpoolFile | None = None) -> SpoolFile:
        """Return this process's file; create it if necessary, as a copy of another one.

        Raises OSError and sqlite3.Error.
        """
        while self.own is None:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = f"{self._destination.digest}-{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
            self.own = SpoolFile.create(self._path / name, copied)
            if self.own is not None:
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
        self._loss = None
        if self._is_unsafe:
            self._say_trouble("this process was forked while its parent wrote to it")

    # -- when the disk does not take it -------------------------------------------------------------------------------

    def _fail(self, error: Exception) -> None:
        """Note that the file cannot be used now, or ever again."""
        if self.own is not None and (is_damage(error) or isinstance(error, TakenOverError)):
            self._loss = error
            return
        if self.own is not None:
            self.own.close()
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
            self._fail(error)
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

    def _replace_own(self, parcels: Iterable[Parcel], tended: Tended) -> None:
        """Give up the file. Parcels that are in memory are written anew; those that were only there are gone.

        A file that was deleted can still be read, and is copied as a whole.
        """
        own, error = self.own, self._loss
        if own is None or error is None:
            return
        self.own = self._loss = None
        if isinstance(error, FileNotFoundError):
            try:
                self.open_own(own)
            except _ERRORS as failure:
                self._fail(failure)
        is_taken, kept = isinstance(error, TakenOverError), 0
        tended.is_lost = self.own is None
        for parcel in parcels if tended.is_lost else ():
            if parcel.row and (is_taken or parcel.is_bare):
                tended.gone.append((parcel, "taken_over" if is_taken else "spool_damaged"))
            kept += parcel.row > 0 and not parcel.is_bare
            parcel.row = parcel.stored = 0
        if not is_taken:
            self._move_aside(own, error, "" if self.own else f"; {kept} of its requests are kept")

    def _move_aside(self, file: SpoolFile, error: Exception, kept: str = "") -> None:
        """Rename a damaged file. The newest few are kept for inspection."""
        file.move_aside()
        damaged = sorted(self._path.glob(f"*{SUFFIX}{DAMAGED_SUFFIX}"), key=age)
        for path in damaged[:-_KEPT_DAMAGED]:
            for name in (path, path.with_name(path.name.removesuffix(DAMAGED_SUFFIX) + "-wal" + DAMAGED_SUFFIX)):
                with suppress(OSError):
                    name.unlink()
        self._notices.say(
            "spool damaged",
            f"The spool {self._path} has lost a file ({file.path.name}: {error}){kept}. A damaged file is renamed to "
            "*.damaged.",
        )

    # -- looking after the files --------------------------------------------------------------------------------------

    def tend(self, parcels: Iterable[Parcel], now: float) -> Tended:
        """Replace a lost file, try the disk again after a failure, and adopt the files of dead processes."""
        tended = Tended()
        with self._guarded():
            if now >= self._scan_at and self.own is not None and not self.own.is_in_place:
                self._loss = FileNotFoundError("it was deleted")
            self._replace_own(parcels, tended)
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
        try:
            if self.own is not None and self.own.is_empty and self.own.bytes_on_disk > _SMALL:
                self.own.remove()  # SQLite keeps the space
                self.own = None
            elif self.own is not None:
                self._note(self.own)
        except _ERRORS as error:
            self._fail(error)

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
        """Take a file of a dead process, or a batch from further ones, oldest first; count the others."""
        self._living, self._living_bytes, self._has_more = 0, 0, False
        for path in sorted(self._path.glob(f"{self._destination.digest}-*{SUFFIX}"), key=age):
            if path in self._ignored or (self.own is not None and path == self.own.path):
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
            else:
                self._adopt(file, now, tended)
                if len(tended.found) >= MOST_TAKEN or sum(p.stored for p in tended.found) >= LARGEST_BATCH // 2:
                    self._has_more, self._scan_at = True, -math.inf  # sending goes on before the next look
                    return

    def _adopt(self, file: SpoolFile, now: float, tended: Tended) -> None:
        """Take over the parcels of a dead process and its open traces: with its file, or in batches into our own."""
        why = f"The spool {self._path} has a file that cannot be used"
        try:
            file.turn_drafts(self._wall())
            if self.own is None and not file.is_empty:
                tended.found += file.found(now, wall=self._wall())
                self.own = file
                return
            may_move = self.works and self._loss is None
            if may_move and not file.is_empty:
                self._move(file, now, tended)
            if file.is_empty:
                file.remove()
                return
            self._has_more = True
            self._scan_at = -math.inf if may_move and self.works else self._scan_at
        except sqlite3.NotSupportedError as error:
            self._ignored.add(file.path)
            self._notices.say("spool file", f"{why} ({file.path.name} {error}); it is left alone.")
        except _ERRORS as error:
            if is_damage(error):
                tended.damaged_spans += _spans_in(file)
                self._move_aside(file, error)
                return
            self._notices.say("spool file", f"{why} now ({file.path.name}: {error}).")
        file.release()

    def _move(self, file: SpoolFile, now: float, tended: Tended) -> None:
        """Move a batch of parcels to this process's own file."""
        found = file.take_batch(now, wall=self._wall())
        if self.write(found):
            for parcel in found:
                parcel.drop_content()
            tended.found += found
            file.drop_batch()

    def _note(self, file: SpoolFile) -> None:
        """Write a note about a file's owner and content beside it, for people who inspect the directory."""
        requests, spans = file.count()
        about = {
            "pid": os.getpid(),
            "endpoint": self._destination.endpoint,
            "project": self._destination.project,
            "requests": requests,
            "spans": spans,
        }
        file.lock.note(orjson.dumps(about))

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
        """Close the store at the end of the process: delete an empty file, and release another one for any process."""
        own, self.own, self.works = self.own, None, False
        if own is not None:
            try:
                is_empty = own.is_empty
            except _ERRORS:
                is_empty = False
            (own.remove if is_empty else own.release)()

    def before_fork(self) -> None:
        """Close the connection, because one that crosses a fork breaks the database. It reopens when needed."""
        if self.own is not None:
            self.own.close()

    def abandon(self, *, is_quiet: bool) -> None:
        """Drop, in a forked child, everything that belongs to the parent, without closing or unlocking it.

        `is_quiet`: no thread wrote to the disk during the fork.
        """
        if self.own is not None:
            self.own.abandon()
        self.own = None
        if not is_quiet:
            SpoolStore._is_unsafe = True


def _spans_in(file: SpoolFile) -> int:
    """Return the number of waiting spans in a damaged file, as far as it is known."""
    try:
        return file.count()[1]
    except _ERRORS:
        spans = noted(file.path).get("spans")
        return spans if isinstance(spans, int) else 0
