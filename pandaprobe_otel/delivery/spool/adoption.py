"""Adoption of the spool files of dead processes, whether intact or damaged."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from pandaprobe_otel.delivery.job import Tended
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.spool.folder import SpoolFolder
from pandaprobe_otel.delivery.spool.log_repair import LogState
from pandaprobe_otel.delivery.spool.rows import JournalRow, TraceState
from pandaprobe_otel.delivery.spool.schema import is_damage, restore_first_page
from pandaprobe_otel.delivery.spool.spool_file import SpoolFile, readable_journal, readable_requests

_SMALL: Final = 16 << 20
"""Size up to which a file is checked completely and may receive further requests."""
_RESCUED_AT_ONCE: Final = 200

Recover = Callable[[Sequence[JournalRow], Sequence[TraceState]], Sequence[Parcel]]
"""Function that makes requests from the spans of incomplete traces. Never raises."""


class Adoption:
    """Adoption of the requests of dead processes by this process. No method raises."""

    def __init__(
        self, *, folder: SpoolFolder, notices: Notices, recover: Recover, wall: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._notices = notices
        self._recover = recover
        self._wall = wall

    def claim(self, rows: Iterator[int], tended: Tended) -> None:
        """Take the files of dead processes, as many as may be open, and add their content to `tended`.

        `rows` yields numbers for new rows.
        """
        try:
            for file in self._folder.claim():
                self._adopt(file, rows, tended)
        except OSError as error:
            self._say(f"cannot be read ({error})")

    def _adopt(self, file: SpoolFile, rows: Iterator[int], tended: Tended) -> None:
        try:
            self._take_whole(file, rows, tended)
        except sqlite3.NotSupportedError as error:
            self._folder.ignore(file)
            self._say(f"has a file that cannot be used ({file.path.name} {error}); it is left alone")
        except (sqlite3.Error, OSError) as error:
            if is_damage(error):
                self._take_damaged(file, error, rows, tended)
            else:
                file.release()
                self._say(f"has a file that cannot be used now ({file.path.name}: {error})")
        if file.log_state is not LogState.SOUND:
            self._say(f"has {file.log_state.value} ({file.path.name})")

    def _take_whole(self, file: SpoolFile, rows: Iterator[int], tended: Tended) -> None:
        file.open()
        is_small = file.bytes_on_disk <= _SMALL
        if is_small and not file.is_sound():
            raise sqlite3.DatabaseError("its structure is damaged")
        with file.transaction():
            if file.has_journal():
                for request in self._recovered(file):
                    row = max(next(rows), file.last_row() + 1)
                    file.insert(row, request, in_doubt=request.step is Step.CREATE)
                file.forget_journal()
            damaged = file.delete_unreadable()
        if not file.count()[0]:
            self._folder.drop(file)
        else:
            self._folder.keep(file, as_own=is_small and self._folder.own is None and file.last_row() < next(rows))
            tended.found += file.found(self._wall())
        tended.damaged_spans += damaged

    def _take_damaged(self, file: SpoolFile, error: Exception, rows: Iterator[int], tended: Tended) -> None:
        batch: list[tuple[Parcel, bool]] = []
        count = 0
        try:
            own = self._folder.open_own()
            before = own.last_row()
            file.close()
            restore_first_page(file.path)
            for _, request, in_doubt in readable_requests(file):
                batch.append((request, in_doubt))
                if len(batch) == _RESCUED_AT_ONCE:
                    count += _insert(own, batch, rows)
            batch += [(request, request.step is Step.CREATE) for request in self._recovered(file)]
            count += _insert(own, batch, rows)
            tended.found += own.found(self._wall(), after=before)
        except (sqlite3.Error, OSError) as failure:
            file.release()
            self._say(f"has a damaged file ({file.path.name}) and cannot be written ({failure})")
            return
        self._folder.move_aside(file)
        self._say(
            f"has lost a file ({file.path.name}: {error}); {count} requests could be read and are kept. "
            "The damaged file is renamed to *.damaged"
        )

    def _recovered(self, file: SpoolFile) -> Sequence[Parcel]:
        try:
            states = file.states()
        except sqlite3.Error:
            states = []
        return self._recover(readable_journal(file), states)

    def _say(self, what: str) -> None:
        self._notices.say(f"spool {what[:12]}", f"The spool {self._folder.path} {what}.")


def _insert(own: SpoolFile, batch: list[tuple[Parcel, bool]], rows: Iterator[int]) -> int:
    with own.transaction():
        for request, in_doubt in batch:
            own.insert(max(next(rows), own.last_row() + 1), request, in_doubt=in_doubt)
    count = len(batch)
    batch.clear()
    return count
