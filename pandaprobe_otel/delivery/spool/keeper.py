"""Carries out what is asked of the spool. Has no thread of its own: one caller at a time, and no call raises."""

from __future__ import annotations

import logging
import math
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.parcel import Step
from pandaprobe_otel.delivery.spool.adoption import Adoption
from pandaprobe_otel.delivery.spool.body_cap import BodyCap
from pandaprobe_otel.delivery.spool.commands import (
    Bury,
    ClearJournal,
    Command,
    Done,
    Insert,
    Park,
    RememberCap,
    Rewrite,
    WriteJournal,
)
from pandaprobe_otel.delivery.spool.dead_letters import DeadLetters
from pandaprobe_otel.delivery.spool.folder import SpoolFolder
from pandaprobe_otel.delivery.spool.memory_side import Loaded, MemorySide
from pandaprobe_otel.delivery.spool.rows import OWN, Count, Kept, Place
from pandaprobe_otel.delivery.spool.schema import is_damage
from pandaprobe_otel.delivery.spool.spool_file import SpoolFile, Turn

MAX_BYTES: Final = 512 << 20
"""Bytes that waiting parcels may take on disk."""
MAX_AGE_S: Final = 7 * 24 * 3600.0
"""What has waited longer is given up: nobody looks at a trace of last week that turns up today."""
_FIRST_RETRY_S: Final = 1.0
_LAST_RETRY_S: Final = 30.0
_MOST_UNDONE: Final = 10_000
_LINES_AT_ONCE: Final = 64
_SHRINK_ABOVE: Final = 16 << 20
"""A file that is empty but larger than this is made anew, since SQLite keeps the space."""

_abandoned: list[object] = []
"""Connections of a parent process: to close one would drop the locks of its file and may write to it."""


class Keeper:
    """Applies commands to the files, brings parcels back to memory, and keeps to the bound."""

    def __init__(
        self,
        *,
        folder: SpoolFolder,
        memory: MemorySide,
        notices: Notices,
        adoption: Adoption,
        max_bytes: int = MAX_BYTES,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._wall = wall
        self._folder = folder
        self._memory = memory
        self._notices = notices
        self._adoption = adoption
        self._max_bytes = max_bytes
        self.fill = 0.0
        """The share of the bound that the files took when something was last written."""
        self._monotonic = monotonic
        self._letters = DeadLetters(folder.path, folder.destination)
        self._cap = BodyCap(folder.path, folder.destination)
        self._knows_cap = False
        self._parked: dict[int, Count] = {}
        self._undone: deque[Command] = deque(maxlen=_MOST_UNDONE)
        """Removals that the disk did not take, to be made up for. Parcels that it did not take are in memory."""
        self._retry_at: float | None = None
        self._retry_s = _FIRST_RETRY_S
        self._trying = False

    @property
    def parked(self) -> Count:
        """What is on disk and not in memory."""
        return sum(list(self._parked.values()), Count())

    @property
    def failing(self) -> bool:
        """Whether the disk cannot be written at the moment."""
        return self._retry_at is not None

    @property
    def has_more(self) -> bool:
        """Whether files of dead processes wait to be adopted until one of those in use is empty."""
        return self._folder.has_more

    # -- commands -----------------------------------------------------------------------------------------------------

    def apply(self, commands: Iterable[Command]) -> bool:
        """Carry out commands, in one transaction for each file; False when the disk does not take them."""
        by_file: dict[int, list[Command]] = {}
        for command in (*self._undone, *commands):
            match command:
                case Insert(place) | Rewrite(place) | Done(place) | Park(place):
                    by_file.setdefault(place.file, []).append(command)
                case WriteJournal() | ClearJournal():
                    by_file.setdefault(OWN, []).append(command)
                case Bury(parcel, words):
                    self._letters.add(parcel, words, self._say_trouble)
                case RememberCap(size):
                    self._cap.write(size)
                case _:
                    pass
        self._undone.clear()
        took = [self._apply_to(number, mine) for number, mine in by_file.items()]
        return all(took) and not self.failing

    def _apply_to(self, number: int, commands: Sequence[Command]) -> bool:
        if number == OWN and self._retry_at is not None and self._monotonic() < self._retry_at:
            self._put_off(commands)
            return False
        file = self._folder.files.get(number)
        adds = any(isinstance(command, (Insert, WriteJournal)) for command in commands)
        if file is None and not (number == OWN and adds):
            return True  # removals from a file that is gone
        try:
            if file is None:
                file = self._folder.open_own()
            parked = _apply(file, commands)
        except (sqlite3.Error, OSError) as error:
            self._trouble(number, error, commands)
            return False
        self._parked[number] = self._parked.get(number, Count()) + parked
        if number == OWN and adds:
            self._works()
        return True

    def _put_off(self, commands: Sequence[Command]) -> None:
        inserts = [command for command in commands if isinstance(command, Insert)]
        self._undone.extend(command for command in commands if isinstance(command, (Done, Park, ClearJournal)))
        self._memory.unsave(
            [insert.job for insert in inserts if insert.job is not None],
            [insert.parcel for insert in inserts if insert.job is None],
        )

    # -- when the disk does not take it -------------------------------------------------------------------------------

    def _trouble(self, number: int, error: Exception, commands: Sequence[Command]) -> None:
        self._put_off(commands)
        if is_damage(error):
            self.lose(number, error)
            return
        if (file := self._folder.files.get(number)) is not None:
            file.close()
        if number != OWN:
            return  # what could not be removed is tried again with the next commands
        self._retry_at = self._monotonic() + self._retry_s
        self._retry_s = min(self._retry_s * 2, _LAST_RETRY_S)
        self._trying = False
        self._say_trouble(error)

    def try_again(self) -> None:
        """When the time has come after a failure: let what is in memory be written."""
        if self._retry_at is not None and not self._trying and self._monotonic() >= self._retry_at:
            self._trying = True
            self._memory.save_all()

    def save_all(self) -> None:
        """The disk has caught up: let what is in memory alone be written."""
        if self._retry_at is None:
            self._memory.save_all()

    def _works(self) -> None:
        if self._retry_at is None:
            return
        self._retry_at, self._retry_s, self._trying = None, _FIRST_RETRY_S, False
        self._notices.over("spool")
        self._notices.say("spool works", f"The spool {self._folder.path} is written again.", level=logging.INFO)
        self._notices.over("spool works")

    def _say_trouble(self, error: Exception) -> None:
        self._notices.say(
            "spool",
            f"The spool {self._folder.path} cannot be written ({error}). Until it can, traces wait in memory only and "
            "do not survive the process.",
        )

    def lose(self, number: int, error: Exception) -> None:
        """A file is damaged or deleted: write anew what is in memory, and what can be read of the rest."""
        file = self._folder.files.pop(number, None)
        if file is None:
            return
        parked = self._parked.pop(number, Count())
        self._memory.forget_places(number)
        try:
            saved = self._adoption.rescue(file, error, only_parked=True)
        except (sqlite3.Error, OSError) as failure:
            saved = Count()
            self._folder.move_aside(file)
            self._say_trouble(failure)
        self._parked[OWN] = self._parked.get(OWN, Count()) + saved
        self._memory.lost("spool_damaged", parked - saved)
        self._memory.save_all()

    # -- other processes ----------------------------------------------------------------------------------------------

    def scan(self) -> None:
        """Look after the own file, and adopt those of dead processes."""
        if not self._knows_cap and (cap := self._cap.read()) is not None:
            self._memory.learned_cap(cap)
        self._knows_cap = True
        own = self._folder.own
        if own is not None and not own.is_in_place:
            self.lose(OWN, FileNotFoundError("it was deleted"))
        for number, count in self._adoption.claim().items():
            self._parked[number] = self._parked.get(number, Count()) + count
        for file in list(self._folder.files.values()):
            self._give_up(file, "expired", partial(SpoolFile.older_than, time=self._wall() - MAX_AGE_S))
            self._tidy(file)

    def drop_empty(self) -> bool:
        """Delete files of dead processes that have nothing in them any more; True when others may take their place."""
        before = len(self._folder.files)
        for file in list(self._folder.files.values()):
            if file.number != OWN and file.bytes <= 0:
                self._tidy(file)
        return self._folder.has_more and len(self._folder.files) < before

    def _tidy(self, file: SpoolFile) -> None:
        """Delete a file that has nothing in it, unless it is the own one and small; note what is in the others."""
        try:
            is_empty = not file.count().parcels and not file.has_journal()
            if is_empty and (file.number != OWN or file.bytes_on_disk > _SHRINK_ABOVE):
                self._folder.drop(file)
                self._parked.pop(file.number, None)
            else:
                self._folder.note(file)
        except (sqlite3.Error, OSError) as error:
            self._trouble(file.number, error, ())

    def wake_at(self) -> float:
        """When there may be something to do that nobody asks for (monotonic): infinity when there is not."""
        now = self._monotonic()
        times = [at for at in self._adoption.check_at.values() if at > now] if self.parked.parcels else []
        if self._retry_at is not None:
            times.append(max(self._retry_at, now + _FIRST_RETRY_S / 2))
        return min(times, default=math.inf)

    # -- back to memory -----------------------------------------------------------------------------------------------

    def refill(self) -> bool:
        """Bring parcels back to memory while there is room; True when there is more to bring at once."""
        room = self._memory.room() if self.parked.parcels > 0 else 0
        if room <= 0:
            return False
        for _ in range(_LINES_AT_ONCE):
            line = self._next_line()
            loaded = 0 if line is None or room <= 0 else self._load_line(line)
            if not loaded:
                return False
            room -= loaded
        return room > 0

    def _next_line(self) -> str | None:
        turns: list[Turn] = []
        now = self._monotonic()
        for number, file in list(self._folder.files.items()):
            try:
                turn = file.next_turn(doubtful=now >= self._adoption.check_at.get(number, 0.0))
            except (sqlite3.Error, OSError) as error:
                self._trouble(number, error, ())
                continue
            if turn is not None:
                turns.append(turn)
        return max(turns, key=lambda turn: (turn.is_error, turn.put_at)).line if turns else None

    def _load_line(self, line: str) -> int:
        """Bring all of a line to memory, creates first; return its bytes, 0 when it cannot be read now."""
        found: list[Loaded] = []
        taken: dict[int, Count] = {}
        size = 0
        for file in self._folder.in_order():
            try:
                rows = file.line(line)
                if rows:
                    found += self._mark_loaded(file, line, rows)
                    taken[file.number] = _count(place for place, _ in rows)
                    size += sum(place.size for place, _ in rows)
            except (sqlite3.Error, OSError) as error:
                self._trouble(file.number, error, ())
        found.sort(key=lambda loaded: loaded.parcel.step is not Step.CREATE)  # stable: else in the order of writing
        self._memory.load(found)
        for number, count in taken.items():  # not before they are in memory: somebody may wait for nothing to be left
            self._parked[number] = self._parked.get(number, Count()) - count
        return size

    def _mark_loaded(self, file: SpoolFile, line: str, rows: Sequence[tuple[Place, Kept | None]]) -> list[Loaded]:
        broken = [place for place, kept in rows if kept is None]
        sound = [(place, kept) for place, kept in rows if kept is not None]
        with file.transaction():
            file.load(place for place, _ in sound)
            file.delete(broken)
        self._memory.lost("spool_damaged", _count(broken), [line] if broken else [])
        return [Loaded(place=place, parcel=kept.parcel, in_doubt=kept.in_doubt) for place, kept in sound]

    # -- the bound ----------------------------------------------------------------------------------------------------

    def evict(self) -> None:
        """Give up the oldest parcels, those without errors first, while there are more bytes than there may be."""
        files = list(self._folder.files.values())
        used, share = sum(file.bytes for file in files), self._share()
        self.fill = min(used / share, 1.0)
        excess = used - share
        for is_error in (False, True):
            for file in files:
                if excess <= 0:
                    return
                excess -= self._give_up(
                    file, "spool_full", partial(SpoolFile.victims, excess=excess, is_error=is_error)
                )

    def _give_up(self, file: SpoolFile, reason: str, choose: Callable[[SpoolFile], Mapping[Place, str]]) -> int:
        try:
            victims = choose(file)
            if not victims:
                return 0
            with file.transaction():
                file.delete(victims)
        except (sqlite3.Error, OSError) as error:
            self._trouble(file.number, error, ())
            return 0
        gone = _count(victims)
        self._parked[file.number] = self._parked.get(file.number, Count()) - gone
        self._memory.lost(reason, gone, victims.values())
        return sum(place.size for place in victims)

    def _share(self) -> int:
        """What other processes leave of the bound, but at least an equal part of it."""
        folder = self._folder
        return max(self._max_bytes // (folder.living + 1), self._max_bytes - folder.living_bytes)

    # -- the process around it ----------------------------------------------------------------------------------------

    def close_connections(self) -> None:
        """Before a fork: no connection may cross it. They are made anew when they are needed."""
        for file in self._folder.files.values():
            file.close()

    def abandon(self) -> None:
        """In a forked child: drop everything of the parent's without closing or unlocking it."""
        _abandoned.extend(self._folder.abandon())

    def leave(self) -> None:
        """At the end of the process: what is empty goes, the rest is anybody's."""
        for file in list(self._folder.files.values()):
            try:
                is_empty = not file.count().parcels and not file.has_journal()
            except (sqlite3.Error, OSError):
                is_empty = False
            if is_empty:
                self._folder.drop(file)
            else:
                file.release()
        self._folder.files.clear()


def _apply(file: SpoolFile, commands: Iterable[Command]) -> Count:
    """Carry out commands in one transaction; return what is parked by them."""
    parked = Count()
    with file.transaction():
        for command in commands:
            match command:
                case Insert(place, parcel, job):
                    file.insert(place.row, parcel, in_memory=job is not None)
                    parked += Count() if job is not None else _count([place])
                case Rewrite(place, parcel):
                    file.rewrite(place, parcel)
                case Done(place):
                    file.delete([place])
                case Park(place, in_doubt):
                    parked += _count([place]) if file.park(place, in_doubt=in_doubt) else Count()
                case WriteJournal(rows, states):
                    file.write_journal(rows, states)
                case ClearJournal(trace_id, state):
                    file.clear_journal(trace_id, keep_open=state is not None)
                    file.write_journal((), () if state is None else (state,))
                case _:
                    pass
    return parked


def _count(places: Iterable[Place]) -> Count:
    places = list(places)
    return Count(len(places), sum(place.spans for place in places))
