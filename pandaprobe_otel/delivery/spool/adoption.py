"""Takes over the files of dead processes, whole or damaged."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.spool.folder import SpoolFolder
from pandaprobe_otel.delivery.spool.memory_side import MemorySide
from pandaprobe_otel.delivery.spool.rows import OWN, Count, JournalRow, TraceState
from pandaprobe_otel.delivery.spool.salvage import readable_journal, readable_parcels
from pandaprobe_otel.delivery.spool.schema import is_damage
from pandaprobe_otel.delivery.spool.spool_file import SpoolFile

CHECK_AFTER_S: Final = 5.0
"""What a process sent just before its death may arrive this much later."""
_SMALL: Final = 16 << 20
"""Bytes up to which a file is checked as a whole, and goes on being written to."""
_RESCUED_AT_ONCE: Final = 200

Recover = Callable[[Sequence[JournalRow], Sequence[TraceState]], Sequence[Parcel]]
"""Makes parcels of the spans of traces that were not complete. Called by the spool's thread; never raises."""


class Adoption:
    """Makes the parcels of dead processes this process's own. No call raises."""

    def __init__(
        self,
        *,
        folder: SpoolFolder,
        memory: MemorySide,
        notices: Notices,
        recover: Recover,
        rows: Callable[[], int],
        check_after_s: float = CHECK_AFTER_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._memory = memory
        self._notices = notices
        self._recover = recover
        self._rows = rows
        self._first_row = rows()
        self._check_after_s = check_after_s
        self._monotonic = monotonic
        self.check_at: dict[int, float] = {}
        """For each file, when what is in doubt may be looked for (monotonic)."""

    def claim(self) -> dict[int, Count]:
        """Take what dead processes have left; return how much that is, by the number of the file it is in now."""
        found: dict[int, Count] = {}
        try:
            for file in self._folder.claim():
                count = self._adopt(file)
                number = file.number if file.number in self._folder.files else OWN
                found[number] = found.get(number, Count()) + count
        except OSError as error:
            self._say(f"cannot be read ({error})")
        return found

    def rescue(self, file: SpoolFile, error: Exception, *, only_parked: bool = False) -> Count:
        """Copy what can be read of a damaged file to the own one, and put the file out of the way."""
        own = self._folder.open_own()
        saved = Count()
        batch: list[tuple[int, Parcel, bool]] = []
        for place, kept in readable_parcels(file, only_parked=only_parked):
            batch.append((place.row, kept.parcel, kept.in_doubt))
            if len(batch) == _RESCUED_AT_ONCE:
                saved += _insert(own, batch)
                batch.clear()
        recovered: Sequence[Parcel] = () if only_parked else self._recovered(file)
        batch += [(self._rows(), parcel, parcel.step is Step.CREATE) for parcel in recovered]
        saved += _insert(own, batch)
        self._folder.move_aside(file)
        self._say(
            f"has lost a file ({file.path.name}: {error}); {saved.parcels} requests could be read and are kept. "
            "A damaged file is put aside as *.damaged"
        )
        return saved

    # -- one file -----------------------------------------------------------------------------------------------------

    def _adopt(self, file: SpoolFile) -> Count:
        try:
            return self._take_whole(file)
        except sqlite3.NotSupportedError as error:
            self._folder.ignore(file)
            self._say(f"has a file that cannot be used ({file.path.name} {error}); it is left alone")
        except (sqlite3.Error, OSError) as error:
            if is_damage(error):
                return self._take_damaged(file, error)
            file.release()
            self._say(f"has a file that cannot be used now ({file.path.name}: {error})")
        return Count()

    def _take_whole(self, file: SpoolFile) -> Count:
        small = file.bytes_on_disk <= _SMALL
        if small and not file.is_sound():
            raise sqlite3.DatabaseError("the check of its structure failed")
        with file.transaction():
            file.take_over()
            if file.has_journal():
                for parcel in self._recovered(file):
                    row = max(self._rows(), file.last_row() + 1)
                    file.insert(row, parcel, in_memory=False, in_doubt=parcel.step is Step.CREATE)
                file.forget_journal()
        count = file.count()
        if not count.parcels:
            self._folder.drop(file)
            return count
        as_own = small and self._folder.own is None and file.last_row() < self._first_row
        self._folder.keep(file, as_own=as_own)
        self._announce(file, count, file.lines_with_create())
        return count

    def _take_damaged(self, file: SpoolFile, error: Exception) -> Count:
        try:
            saved = self.rescue(file, error)
            own = self._folder.open_own()
            self._announce(own, saved, own.lines_with_create())
        except (sqlite3.Error, OSError) as failure:
            file.release()
            self._say(f"has a damaged file ({file.path.name}) and cannot be written ({failure})")
            return Count()
        return saved

    def _recovered(self, file: SpoolFile) -> Sequence[Parcel]:
        try:
            states = file.states()
        except sqlite3.Error:
            states = []
        return self._recover(readable_journal(file), states)

    def _announce(self, file: SpoolFile, count: Count, lines: Iterable[str]) -> None:
        self.check_at[file.number] = self._monotonic() + self._check_after_s
        self._memory.adopted(count, lines)

    def _say(self, what: str, *, level: int = logging.WARNING) -> None:
        self._notices.say(f"spool {what[:12]}", f"The spool {self._folder.path} {what}.", level=level)


def _insert(own: SpoolFile, batch: Sequence[tuple[int, Parcel, bool]]) -> Count:
    with own.transaction():
        for row, parcel, in_doubt in batch:
            own.insert(row, parcel, in_memory=False, in_doubt=in_doubt)
    return Count(len(batch), sum(len(parcel.spans) for _, parcel, _ in batch))
