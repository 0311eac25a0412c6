"""Waiting requests in the files of a directory, where they survive the process."""

from __future__ import annotations

import itertools
import logging
import math
import sqlite3
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import ClassVar, Final, TypeVar

from pandaprobe_otel.delivery.job import Changes, Job, Place, Tended
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.spool.folder import SpoolFolder
from pandaprobe_otel.delivery.spool.lock_file import TakenOverError
from pandaprobe_otel.delivery.spool.refused import keep_refused
from pandaprobe_otel.delivery.spool.rows import JournalChange, JournalRow, TraceState
from pandaprobe_otel.delivery.spool.spool_file import OWN, SpoolFile, is_damage, noted
from pandaprobe_otel.mapping.encoded_spans import EncodedSpans

MAX_BYTES: Final = 512 << 20
"""Bound on the bytes of waiting requests on disk."""
SCAN_EVERY_S: Final = 5.0
"""Seconds between two searches for files of dead processes."""
_FIRST_RETRY_S: Final = 1.0
_LAST_RETRY_S: Final = 30.0
_TRIAL_LOOK_S: Final = 0.02
_TRIAL_LONG_S: Final = 1.0
"""Time after which a trial of SQLite is reported. It usually takes milliseconds."""
_MOST_UNDONE: Final = 10_000
_SHRINK_ABOVE: Final = 16 << 20
"""Size above which an empty file is recreated, because SQLite keeps the space."""

_SMALL: Final = 16 << 20
"""Size up to which an adopted file may receive further requests."""

Recover = Callable[[Sequence[JournalRow], Sequence[TraceState]], Sequence[Parcel]]
"""Function that makes requests from the spans of incomplete traces. Never raises."""
_T = TypeVar("_T")
_ERRORS: Final = (sqlite3.Error, OSError)


class SpoolStore:
    """Storage in SQLite files. Unwritten requests stay in memory and are offered again when writing works.

    Not thread-safe: the outbox calls it under the lock of `SenderPool`. No method raises.
    """

    _is_unsafe: ClassVar[bool] = False
    """True if this process was forked while another thread may have been inside SQLite. The copies of the locks that it
    held stay held for ever. A trial finds out.
    """

    def __init__(
        self,
        *,
        folder: SpoolFolder,
        recover: Recover,
        notices: Notices,
        max_bytes: int = MAX_BYTES,
        scan_every_s: float = SCAN_EVERY_S,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self._recover = recover
        self._wall = wall
        self._notices = notices
        self._max_bytes = max_bytes
        self._scan_every_s = scan_every_s
        self._monotonic = monotonic
        # Microseconds since the epoch: no earlier run has used these numbers in a file that this process may take over.
        self._rows = itertools.count(time.time_ns() // 1000)
        self._has_looked = False
        self._undone: deque[Place] = deque(maxlen=_MOST_UNDONE)
        """Rows that could not be deleted on disk, to be deleted later."""
        self._uncleared: dict[str, JournalChange] = {}
        """Traces that could not be cleared in the journal, with the latest change of each."""
        self._suspects: dict[int, Exception] = {}
        """Files with damage, by number."""
        self._retry_at = math.inf
        self._retry_s = _FIRST_RETRY_S
        self._scan_at = -math.inf
        self.works = True
        """True if the last write succeeded."""
        self._is_untried = self._is_unsafe
        self._trial: threading.Thread | None = None
        self._trial_since = 0.0
        if self._is_untried:
            self.works, self._scan_at, self._retry_at = False, math.inf, -math.inf

    @property
    def tend_at(self) -> float:
        """Time at which to call `tend`."""
        return -math.inf if self._suspects else min(self._scan_at, self._retry_at)

    @property
    def has_more(self) -> bool:
        """True if the directory has not been searched yet, or if files of dead processes wait until fewer are open."""
        return self.folder.has_more or self._scan_at == -math.inf

    @property
    def fill(self) -> float:
        """Used share of the bound on files."""
        return self._used() / self._share()

    @property
    def excess(self) -> int:
        """Bytes over the bound."""
        return max(self._used() - self._share(), 0)

    # -- writing and reading ------------------------------------------------------------------------------------------

    def write(self, changes: Changes) -> bool:
        """Write all changes or none, in one transaction for each file. The `added` jobs have places afterwards."""
        return self._guarded(lambda: self._write(changes), False)

    def read(self, place: Place) -> tuple[bytes, EncodedSpans] | None:
        """Return the fields and spans of a request; None if they cannot be read now."""
        return self._guarded(lambda: self._read(place), None)

    def _write(self, changes: Changes) -> bool:
        for request, words in changes.refused:
            try:
                keep_refused(self.folder.path, self.folder.destination, request, words)
            except OSError as error:
                self._say_trouble(error)
        if changes.body_cap is not None:
            self.folder.write_body_cap(changes.body_cap)
        others = {place.file for place in (*changes.removed, *changes.started) if place.file != OWN}
        others.update(job.place.file for job in changes.rewritten if job.place is not None and job.place.file != OWN)
        took = [self._write_to(number, changes) for number in (OWN, *sorted(others))]
        return all(took)

    def _read(self, place: Place) -> tuple[bytes, EncodedSpans] | None:
        file = self.folder.files.get(place.file)
        try:
            return None if file is None else file.content(place.row)
        except _ERRORS as error:
            self._suspect(place.file, error)
            return None

    def _write_to(self, number: int, changes: Changes) -> bool:
        file = self.folder.files.get(number)
        adds = number == OWN and bool(changes.added or changes.journal)
        if adds and not self.works:
            self._postpone(changes.journal)
            adds = False
        if file is None and not adds:
            return True
        places: dict[Job, Place] = {}
        try:
            file = file or self.folder.open_own()
            with file.transaction():
                if adds:
                    places = self._insert(file, changes)
                _change(file, changes)
        except _ERRORS as error:
            self._undone.extend(place for place in changes.removed if place.file == number)
            self._suspect(number, error)
            if adds:
                self._postpone(changes.journal)
            return False
        for job, place in places.items():
            job.place = place
        return self.works

    def _insert(self, file: SpoolFile, changes: Changes) -> dict[Job, Place]:
        places: dict[Job, Place] = {}
        for job in changes.added:
            request = job.request
            places[job] = Place(OWN, next(self._rows), request.size, request.span_count)
            file.insert(places[job].row, request)
        for change in changes.journal:
            file.change_journal(change)
        return places

    def _postpone(self, journal: Iterable[JournalChange]) -> None:
        """Remember which traces to clear. Otherwise, the next process would send spans again that are requests now."""
        for change in journal:
            trace_id = change.cleared
            if trace_id is not None and (trace_id in self._uncleared or len(self._uncleared) < _MOST_UNDONE):
                self._uncleared[trace_id] = change

    def _guarded(self, work: Callable[[], _T], otherwise: _T) -> _T:
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - the guard of the spool: a fault of ours turns it off, said once
            self._notices.say(
                "spool fault",
                "The spool failed inside pandaprobe-otel and is not written any more; please report this: "
                + "".join(traceback.format_exception(error)),
                level=logging.ERROR,
            )
            self.works, self._scan_at, self._retry_at = False, math.inf, math.inf
            self._suspects.clear()
            return otherwise

    # -- when the disk does not take it -------------------------------------------------------------------------------

    def _suspect(self, number: int, error: Exception) -> None:
        if is_damage(error) or isinstance(error, TakenOverError):
            self._suspects[number] = error
            return
        if (file := self.folder.files.get(number)) is not None:
            file.close()
        if number == OWN:
            self.works = False
            self._retry_at = self._monotonic() + self._retry_s
            self._retry_s = min(self._retry_s * 2, _LAST_RETRY_S)
            self._say_trouble(error)

    def _try_again(self, now: float) -> bool:
        """Return whether the disk can be written again after a failure."""
        if self.works or now < self._retry_at:
            return False
        if self._is_untried and not self._has_tried_out(now):
            return False
        self._retry_at = math.inf
        try:
            with self.folder.open_own().transaction():
                pass
        except _ERRORS as error:
            self._suspect(OWN, error)
            return False
        self.works, self._retry_s = True, _FIRST_RETRY_S
        self._notices.over("spool")
        self._notices.say("spool works", f"The spool {self.folder.path} can be written again.", level=logging.INFO)
        self._notices.over("spool works")
        return True

    def _has_tried_out(self, now: float) -> bool:
        """Return whether SQLite works in this forked child. A thread finds out, which may hang for ever."""
        if self._is_unsafe and self._trial is None:
            self._trial, self._trial_since = threading.Thread(target=self._try_out, daemon=True), now
            with suppress(RuntimeError):  # during interpreter shutdown
                self._trial.start()
        if self._is_unsafe:
            self._retry_at = now + _TRIAL_LOOK_S
            if now - self._trial_since >= _TRIAL_LONG_S:
                self._retry_at = now + _LAST_RETRY_S
                self._say_trouble("this process was forked while its parent wrote to it")
            return False
        self._is_untried, self._scan_at = False, now
        return True

    def _try_out(self) -> None:
        with suppress(*_ERRORS):  # trouble with the disk, which `_try_again` finds too
            self.folder.try_out()
        SpoolStore._is_unsafe = False

    def _make_up(self) -> None:
        """Delete rows that could not be deleted before."""
        undone, self._undone = list(self._undone), deque(maxlen=_MOST_UNDONE)
        if undone:
            self.write(Changes(removed=undone))

    def _say_trouble(self, error: object) -> None:
        self._notices.say(
            "spool",
            f"The spool {self.folder.path} cannot be written ({error}). Until it can, traces wait only in memory and "
            "do not survive the process.",
        )

    # -- looking after the files --------------------------------------------------------------------------------------

    def tend(self, jobs: Callable[[], Iterable[Job]], now: float) -> Tended:
        """Rename damaged files, try the disk again after a failure, and adopt the files of dead processes."""
        tended = Tended()
        self._guarded(lambda: self._tend(jobs, now, tended), None)
        return tended

    def _tend(self, jobs: Callable[[], Iterable[Job]], now: float, tended: Tended) -> None:
        if now >= self._scan_at and (own := self.folder.own) is not None and not own.is_in_place:
            self._suspects[OWN] = FileNotFoundError("it was deleted")
        if self._suspects:
            tended.works_again = True
            self._put_aside(list(jobs()), tended)
        if self._try_again(now):
            tended.works_again = True
            tended.journal, self._uncleared = list(self._uncleared.values()), {}
        self._make_up()
        if now >= self._scan_at:
            self._scan_at = now + self._scan_every_s
            self._look_around(tended)

    def _look_around(self, tended: Tended) -> None:
        if not self._has_looked:
            tended.body_cap = self.folder.read_body_cap()
        self._has_looked = True
        if (danger := self.folder.danger()) is not None:  # each time, because others may create the directory first
            self._notices.say("spool folder", f"The spool {self.folder.path} {danger}.")
        self._adopt_all(tended)
        for file in list(self.folder.files.values()):
            self._tidy(file)

    def _put_aside(self, jobs: Iterable[Job], tended: Tended) -> None:
        """Rename damaged files. Their requests are written anew if they are in memory or can be read, or else given up.

        A deleted file can still be read as a whole.
        """
        suspects, self._suspects = self._suspects, {}
        for number, error in suspects.items():
            file = self.folder.files.pop(number, None)
            if file is None:
                continue
            there = [job for job in jobs if job.place is not None and job.place.file == number]
            if isinstance(error, TakenOverError):
                tended.gone += [(job, "taken_over") for job in there]
                continue
            lost = self._copied_from(file, [job for job in there if job.request.is_bare])
            tended.gone += [(job, "spool_damaged") for job in lost]
            for job in there:
                if not job.request.is_bare:
                    job.place = None
            self.folder.move_aside(file)
            self._say_lost(file, error, len(there) - len(lost))

    def _copied_from(self, file: SpoolFile, jobs: Sequence[Job]) -> list[Job]:
        """Copy the requests of a file to the process's own file; return those that are lost."""
        places: dict[Job, Place] = {}
        try:
            own = self.folder.open_own()
            with own.transaction():
                for job in jobs:
                    place = job.place
                    try:
                        assert place is not None
                        fields, spans = file.content(place.row)
                    except _ERRORS:
                        continue
                    row = next(self._rows)
                    own.insert(row, replace(job.request, fields=fields, spans=spans), in_doubt=job.in_doubt)
                    places[job] = Place(OWN, row, place.size, place.spans)
        except _ERRORS as error:
            self._suspect(OWN, error)
            return list(jobs)
        for job, new in places.items():
            job.place = new
        return [job for job in jobs if job not in places]

    def _say_lost(self, file: SpoolFile, error: Exception, kept: int) -> None:
        self._notices.say(
            "spool damaged",
            f"The spool {self.folder.path} has lost a file ({file.path.name}: {error}); {kept} of its requests are "
            "kept. The damaged file is renamed to *.damaged.",
        )

    def _adopt_all(self, tended: Tended) -> None:
        """Take the files of dead processes, as many as may be open."""
        try:
            for file in self.folder.claim():
                self._adopt(file, tended)
        except OSError as error:
            self._notices.say("spool search", f"The spool {self.folder.path} cannot be read ({error}).")

    def _adopt(self, file: SpoolFile, tended: Tended) -> None:
        why = f"The spool {self.folder.path} has a file that cannot be used"
        try:
            with file.transaction():
                if file.has_journal():
                    spans = [row for row in file.journal() if row is not None]
                    for request in self._recover(spans, file.states()):
                        row = max(next(self._rows), file.last_row() + 1)
                        file.insert(row, request, in_doubt=request.step is Step.CREATE)
                    file.forget_journal()
            if not file.count()[0]:
                self.folder.drop(file)
                return
            may_be_own = self.folder.own is None and file.bytes_on_disk <= _SMALL
            self.folder.keep(file, as_own=may_be_own and file.last_row() < next(self._rows))
            tended.found += file.found(self._wall())
        except sqlite3.NotSupportedError as error:
            self.folder.leave(file, for_good=True)
            self._notices.say("spool file", f"{why} ({file.path.name} {error}); it is left alone.")
        except _ERRORS as error:
            if is_damage(error):
                tended.damaged_spans += _spans_in(file)
                self.folder.move_aside(file)
                self._say_lost(file, error, 0)
            else:
                self.folder.leave(file, for_good=False)
                self._notices.say("spool file", f"{why} now ({file.path.name}: {error}).")

    def _tidy(self, file: SpoolFile) -> None:
        """Delete an empty file, unless it is this process's own and small; write notes about the others."""
        try:
            if file.is_empty() and (file.number != OWN or file.bytes_on_disk > _SHRINK_ABOVE):
                self.folder.drop(file)
                if self.folder.has_more:
                    self._scan_at = -math.inf
            else:
                self.folder.note(file)
        except _ERRORS as error:
            self._suspect(file.number, error)

    def _used(self) -> int:
        return sum(file.bytes for file in self.folder.files.values())

    def _share(self) -> int:
        """Return the bytes of the bound that other processes leave, but at least an equal share of it."""
        folder = self.folder
        return max(self._max_bytes // (folder.living + 1), self._max_bytes - folder.living_bytes)

    # -- the process around it ----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the store at the end of the process: delete empty files, and release the others for any process."""
        self._make_up()
        for file in list(self.folder.files.values()):
            try:
                is_empty = file.is_empty()
            except _ERRORS:
                is_empty = False
            if is_empty:
                self.folder.drop(file)
            else:
                file.release()
        self.folder.files.clear()
        self.works = False

    def before_fork(self) -> None:
        """Close every connection, because one that crosses a fork breaks the database. They reopen when needed."""
        for file in self.folder.files.values():
            file.close()

    def abandon(self, *, is_quiet: bool) -> None:
        """Drop, in a forked child, everything that belongs to the parent, without closing or unlocking it."""
        self.folder.abandon()
        if not is_quiet:
            SpoolStore._is_unsafe = True


def _spans_in(file: SpoolFile) -> int:
    """Return the number of waiting spans in a damaged file, as far as it is known."""
    try:
        return file.count()[1]
    except _ERRORS:
        spans = noted(file.path).get("spans")
        return spans if isinstance(spans, int) else 0


def _change(file: SpoolFile, changes: Changes) -> None:
    number = file.number
    for job in changes.rewritten:
        if job.place is not None and job.place.file == number and job not in changes.added:
            file.rewrite(job.place, job.request)
            job.place = Place(number, job.place.row, job.request.size, job.request.span_count)
    file.mark_started(place for place in changes.started if place.file == number)
    file.delete(place for place in changes.removed if place.file == number)
