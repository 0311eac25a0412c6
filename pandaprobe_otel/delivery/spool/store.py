"""Waiting parcels in the files of a directory, where they survive the process."""

from __future__ import annotations

import itertools
import logging
import math
import sqlite3
import threading
import time
import traceback
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import ClassVar, Final

from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.outbox import Tended
from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.spool.drafts import Draft, requests_of
from pandaprobe_otel.delivery.spool.folder import SpoolFolder
from pandaprobe_otel.delivery.spool.lock_file import TakenOverError
from pandaprobe_otel.delivery.spool.spool_file import SpoolFile, is_damage, noted
from pandaprobe_otel.mapping.encoded_spans import EncodedSpans

MAX_BYTES: Final = 512 << 20
"""Bound on the bytes of waiting parcels on disk."""
SCAN_EVERY_S: Final = 5.0
"""Seconds between two searches for files of dead processes."""
_FIRST_RETRY_S: Final = 1.0
_LAST_RETRY_S: Final = 30.0
_TRIAL_LOOK_S: Final = 0.02
_TRIAL_LONG_S: Final = 1.0
"""Time after which a trial of SQLite is reported. It usually takes milliseconds."""
_MOST_UNDONE: Final = 10_000
_SMALL: Final = 16 << 20
"""Size above which an empty file is recreated, because SQLite keeps the space, and an adopted one gets no new parcels.
"""

_ERRORS: Final = (sqlite3.Error, OSError)


class SpoolStore:
    """Storage in SQLite files. Unwritten parcels stay in memory and are offered again when writing works.

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
        notices: Notices,
        max_bytes: int = MAX_BYTES,
        scan_every_s: float = SCAN_EVERY_S,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self._wall = wall
        self._notices = notices
        self._max_bytes = max_bytes
        self._scan_every_s = scan_every_s
        self._monotonic = monotonic
        # Microseconds since the epoch: no earlier run has used these numbers in a file that this process may take over.
        self._rows = itertools.count(time.time_ns() // 1000)
        self._has_looked = False
        self._undone: deque[tuple[SpoolFile, int, int]] = deque(maxlen=_MOST_UNDONE)
        """Rows, with their sizes, that could not be deleted on disk, to be deleted later."""
        self._unreplaced: dict[str, Draft] = {}
        """Traces whose drafts could not be replaced, with the latest change of each."""
        self._suspects: dict[SpoolFile, Exception] = {}
        """Files with damage."""
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
    def is_behind(self) -> bool:
        """True if drafts are to be replaced, now that the disk works again."""
        return self.works and bool(self._unreplaced)

    def room(self) -> tuple[int, int]:
        """Return the used bytes, and their bound: what other processes leave of it, but at least an equal share."""
        folder = self.folder
        bound = max(self._max_bytes // (folder.living + 1), self._max_bytes - folder.living_bytes)
        return sum(file.bytes for file in folder.files), bound

    # -- writing and reading ------------------------------------------------------------------------------------------

    def write(self, changed: Iterable[Parcel], drafts: Sequence[Draft] = ()) -> bool:
        """Write all changes or none, in one transaction for each file. New parcels have a `file` afterwards."""
        with self._guarded():
            new: list[Parcel] = []
            known: defaultdict[SpoolFile, list[Parcel]] = defaultdict(list)
            for parcel in changed:
                if parcel.file is not None:
                    known[parcel.file].append(parcel)
                elif parcel.line is not None:
                    new.append(parcel)
            drafts = [*self._unreplaced.values(), *drafts]
            adds = bool(new or drafts) and self.works
            if not adds:
                self._postpone(drafts)
            own = self.folder.own
            took = [True]
            if adds or own in known:
                is_mine = known.pop(own, []) if own is not None else []
                took.append(self._write_to(own, is_mine, new if adds else (), drafts if adds else ()))
            took += [self._write_to(file, parcels) for file, parcels in known.items() if file in self.folder.files]
            return all(took) and self.works
        return False

    def read(self, parcel: Parcel) -> tuple[bytes, EncodedSpans] | None:
        """Return the fields and spans of a parcel; None if they cannot be read now."""
        file = parcel.file
        with self._guarded():
            try:
                return file.content(parcel.row) if file is not None and file in self.folder.files else None
            except _ERRORS as error:
                self._suspect(file, error)
        return None

    def keep_refused(self, parcel: Parcel, words: str) -> None:
        """Keep a refused parcel with the server's words."""
        try:
            self.folder.keep_refused(parcel, words)
        except OSError as error:
            self._say_trouble(error)

    def remember_cap(self, size: int) -> None:
        """Remember the size of the largest body that the server accepts, for processes that share the directory."""
        self.folder.write_body_cap(size)

    def _write_to(
        self,
        file: SpoolFile | None,
        known: Sequence[Parcel],
        new: Sequence[Parcel] = (),
        drafts: Sequence[Draft] = (),
    ) -> bool:
        """Write to a file; None: to the process's own one, which does not exist yet."""
        rows: dict[Parcel, int] = {}
        try:
            file = file or self.folder.open_own()
            with file.transaction():
                for parcel in new:
                    rows[parcel] = next(self._rows)
                    file.insert(rows[parcel], parcel)
                for draft in drafts:
                    file.change_draft(draft, self._rows)
                for parcel in known:
                    file.update(parcel)
        except _ERRORS as error:
            if file is not None:
                self._undone.extend((file, parcel.row, parcel.stored) for parcel in known if parcel.line is None)
            self._suspect(file, error)
            self._postpone(drafts)
            return False
        for parcel, row in rows.items():
            parcel.file, parcel.row, parcel.stored = file, row, parcel.size
        if drafts:
            self._unreplaced = {}
        return True

    def _postpone(self, drafts: Iterable[Draft]) -> None:
        """Remember the drafts to replace. Otherwise, the next process would send spans again that are parcels now."""
        for draft in drafts:
            if draft.replaces and (draft.trace_id in self._unreplaced or len(self._unreplaced) < _MOST_UNDONE):
                self._unreplaced[draft.trace_id] = draft

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
            self.works, self._scan_at, self._retry_at = False, math.inf, math.inf
            self._suspects.clear()

    # -- when the disk does not take it -------------------------------------------------------------------------------

    def _suspect(self, file: SpoolFile | None, error: Exception) -> None:
        """Note that a file, or the process's own one that is not there yet, cannot be used now or is damaged."""
        if file is not None and (is_damage(error) or isinstance(error, TakenOverError)):
            self._suspects[file] = error
            return
        if file is not None:
            file.close()
        if file is self.folder.own:
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
            self._suspect(self.folder.own, error)
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
        undone, self._undone = self._undone, deque(maxlen=_MOST_UNDONE)
        for file in {each[0] for each in undone} & {*self.folder.files}:
            rows = [each for each in undone if each[0] is file]
            try:
                with file.transaction():
                    for _, row, size in rows:
                        file.delete(row, size)
            except _ERRORS as error:
                self._undone.extend(rows)
                self._suspect(file, error)

    def _say_trouble(self, error: object) -> None:
        self._notices.say(
            "spool",
            f"The spool {self.folder.path} cannot be written ({error}). Until it can, traces wait only in memory and "
            "do not survive the process.",
        )

    # -- looking after the files --------------------------------------------------------------------------------------

    def tend(self, parcels: Callable[[], Iterable[Parcel]], now: float) -> Tended:
        """Rename damaged files, try the disk again after a failure, and adopt the files of dead processes."""
        tended = Tended()
        with self._guarded():
            if now >= self._scan_at and (own := self.folder.own) is not None and not own.is_in_place:
                self._suspects[own] = FileNotFoundError("it was deleted")
            if self._suspects:
                tended.works_again = True
                self._put_aside([*parcels()], tended)
            tended.works_again = self._try_again(now) or tended.works_again
            self._make_up()
            if now >= self._scan_at:
                self._scan_at = now + self._scan_every_s
                self._look_around(now, tended)
        return tended

    def _look_around(self, now: float, tended: Tended) -> None:
        if not self._has_looked:
            tended.body_cap = self.folder.read_body_cap()
        self._has_looked = True
        if (danger := self.folder.danger()) is not None:  # each time, because others may create the directory first
            self._notices.say("spool folder", f"The spool {self.folder.path} {danger}.")
        try:
            for file in self.folder.claim():
                self._adopt(file, now, tended)
        except OSError as error:
            self._notices.say("spool search", f"The spool {self.folder.path} cannot be read ({error}).")
        for file in [*self.folder.files]:
            self._tidy(file)

    def _put_aside(self, parcels: Sequence[Parcel], tended: Tended) -> None:
        """Rename damaged files. Their parcels are written anew if they are in memory or can be read, or else given up.

        A deleted file can still be read as a whole.
        """
        suspects, self._suspects = self._suspects, {}
        for file, error in suspects.items():
            if file not in self.folder.files:
                continue
            self.folder.forget(file)
            there = [parcel for parcel in parcels if parcel.file is file]
            if isinstance(error, TakenOverError):
                tended.gone += [(parcel, "taken_over") for parcel in there]
            else:
                lost = self._not_copied([parcel for parcel in there if parcel.is_bare])
                tended.gone += [(parcel, "spool_damaged") for parcel in lost]
                self.folder.move_aside(file)
                self._say_lost(file, error, len(there) - len(lost))
            for parcel in there:
                if parcel.file is file:
                    parcel.file, parcel.stored = None, 0

    def _not_copied(self, parcels: Sequence[Parcel]) -> list[Parcel]:
        """Copy parcels from their files to the process's own one; return those that are lost."""
        rows: dict[Parcel, int] = {}
        if not parcels:
            return []
        try:
            own = self.folder.open_own()
            with own.transaction():
                for parcel in parcels:
                    try:
                        assert parcel.file is not None
                        fields, spans = parcel.file.content(parcel.row)
                    except _ERRORS:
                        continue
                    copy = replace(parcel, fields=fields, spans=spans)
                    copy.in_doubt = parcel.in_doubt
                    rows[parcel] = next(self._rows)
                    own.insert(rows[parcel], copy)
        except _ERRORS as error:
            self._suspect(self.folder.own, error)
            return [*parcels]
        for parcel, row in rows.items():
            parcel.file, parcel.row = own, row
        return [parcel for parcel in parcels if parcel not in rows]

    def _say_lost(self, file: SpoolFile, error: Exception, kept: int) -> None:
        self._notices.say(
            "spool damaged",
            f"The spool {self.folder.path} has lost a file ({file.path.name}: {error}); {kept} of its requests are "
            "kept. The damaged file is renamed to *.damaged.",
        )

    def _adopt(self, file: SpoolFile, now: float, tended: Tended) -> None:
        """Take over the parcels of a dead process, and make some of its open traces."""
        why = f"The spool {self.folder.path} has a file that cannot be used"
        try:
            with file.transaction():
                for drafted, is_open in file.drafts():
                    for parcel in requests_of(drafted, is_open=is_open):
                        parcel.in_doubt = parcel.step is Step.CREATE
                        file.insert(max(next(self._rows), file.last_row() + 1), parcel)
                file.forget_drafts()
            if not file.count()[0]:
                self.folder.drop(file)
                return
            found = file.found(now, wall=self._wall())
            may_be_own = self.folder.own is None and file.bytes_on_disk <= _SMALL
            self.folder.keep(file, as_own=may_be_own and file.last_row() < next(self._rows))
            tended.found += found
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
            if file.is_empty() and (file is not self.folder.own or file.bytes_on_disk > _SMALL):
                self.folder.drop(file)
                if self.folder.has_more:
                    self._scan_at = -math.inf
            else:
                self.folder.note(file)
        except _ERRORS as error:
            self._suspect(file, error)

    # -- the process around it ----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the store at the end of the process: delete empty files, and release the others for any process."""
        with self._guarded():
            self._make_up()
        for file in [*self.folder.files]:
            try:
                is_empty = file.is_empty()
            except _ERRORS:
                is_empty = False
            if is_empty:
                self.folder.drop(file)
            else:
                self.folder.leave(file, for_good=False)
        self.works = False

    def before_fork(self) -> None:
        """Close every connection, because one that crosses a fork breaks the database. They reopen when needed."""
        for file in self.folder.files:
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
