"""Repair of a database's log. Without it, SQLite ignores everything after the first damaged frame.

Each frame of a write-ahead log is a page with a checksum over itself and all frames before it. A flipped bit therefore
hides every later transaction. This module recomputes the checksums, so that all frames count. The page with the flipped
bit is found by the check of the database's structure, or by the checksum of the request on it. Source of the format:
https://www.sqlite.org/fileformat2.html#the_write_ahead_log

The last commit is the exception: it counts only if its checksum is right. SQLite writes the header of a frame and then
its page, over the frames of an earlier use of the log. A process killed between the two leaves the header of a commit
before a page that does not belong to it.
"""

from __future__ import annotations

import os
import struct
import sys
from array import array
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Final

from pandaprobe_otel.delivery.spool.lock_file import open_plain, refuse_link

_HEAD: Final = 32
_FRAME_HEAD: Final = 24
_LITTLE: Final = 0x377F0682
_BIG: Final = 0x377F0683
_VERSION: Final = 3007000
PAGE_SIZE: Final = 4096
DRAFT_SUFFIX: Final = ".repaired"
_MOST_BYTES: Final = 64 << 20
"""Size above which a log is left alone. SQLite cuts a spool's log to 4 MB after each checkpoint."""
_WORD: Final = 0xFFFFFFFF


class LogState(Enum):
    """The state in which a log was found, in words for the user."""

    SOUND = "a sound log"
    DAMAGED = "a damaged log; what can be read of it is sent"
    TORN = "a log whose last write is incomplete; all before it is sent"
    """The process ended while it wrote the last transaction, or the last transaction is damaged."""


def repair_log(database: Path) -> LogState:
    """Make every whole transaction in a database's log count; return what was found. Raises OSError.

    Call this before SQLite opens the database, since SQLite deletes the rest of the log when it closes the database.
    """
    log = Path(f"{database}-wal")
    if not log.exists():
        return LogState.SOUND
    refuse_link(log)
    if log.stat().st_size > _MOST_BYTES:
        return LogState.SOUND
    content = bytearray(log.read_bytes())
    state = _repair(content)
    if state is LogState.DAMAGED:
        draft = Path(f"{log}{DRAFT_SUFFIX}")
        with suppress(FileNotFoundError):
            draft.unlink()
        with os.fdopen(open_plain(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
            file.write(content)
            os.fsync(file.fileno())
        draft.replace(log)  # in one step: if a kill interrupts it, the old log is still there
    return state


def _repair(log: bytearray) -> LogState:
    if len(log) < _HEAD + _FRAME_HEAD:
        return LogState.SOUND
    is_damaged = _repair_head(log)
    magic, _, page_size, _, *salts = struct.unpack_from(">6I", log)
    size = _FRAME_HEAD + page_size
    commits = [at for at in range(_HEAD, len(log) - size + 1, size) if _is_commit(log, at, salts)]
    is_torn = bool(commits) and not _continues(log, commits[-1], size, magic)
    if is_torn:
        commits.pop()
    sums = struct.unpack_from(">2I", log, 24)
    for at in range(_HEAD, commits[-1] + 1 if commits else 0, size):
        is_damaged |= list(struct.unpack_from(">2I", log, at + 8)) != salts
        struct.pack_into(">2I", log, at + 8, *salts)
        sums = _sums_after(log, at, size, sums, magic)
        is_damaged |= struct.unpack_from(">2I", log, at + 16) != sums
        struct.pack_into(">2I", log, at + 16, *sums)
    if is_damaged:
        return LogState.DAMAGED
    return LogState.TORN if is_torn else LogState.SOUND


def _continues(log: bytearray, at: int, size: int, magic: int) -> bool:
    """Return whether a frame's checksum continues the previous one, which is in the frame or header before it."""
    before = struct.unpack_from(">2I", log, 24 if at == _HEAD else at - size + 16)
    return _sums_after(log, at, size, before, magic) == struct.unpack_from(">2I", log, at + 16)


def _sums_after(log: bytearray, at: int, size: int, sums: tuple[int, ...], magic: int) -> tuple[int, int]:
    return _checksum(log[at + _FRAME_HEAD : at + size], _checksum(log[at : at + 8], sums, magic), magic)


def _repair_head(log: bytearray) -> bool:
    """Rewrite a damaged header. The first frame contains the two salts too."""
    magic = _BIG if sys.byteorder == "big" else _LITTLE
    if (
        _checksum(log[:24], (0, 0), magic) == struct.unpack_from(">2I", log, 24)
        and struct.unpack_from(">I", log)[0] == magic
    ):
        return False
    checkpoints = struct.unpack_from(">I", log, 12)
    struct.pack_into(">4I", log, 0, magic, _VERSION, PAGE_SIZE, *checkpoints)
    log[16:24] = log[_HEAD + 8 : _HEAD + 16]
    struct.pack_into(">2I", log, 24, *_checksum(log[:24], (0, 0), magic))
    return True


def _is_commit(log: bytearray, at: int, salts: list[int]) -> bool:
    """Return whether a frame ends a transaction of this log. Frames of an earlier use of the file have other salts."""
    pages: int
    _, pages, *found = struct.unpack_from(">4I", log, at)
    flipped = sum((one ^ other).bit_count() for one, other in zip(found, salts, strict=True))
    return pages > 0 and flipped <= 1


def _checksum(part: bytearray, sums: tuple[int, ...], magic: int) -> tuple[int, int]:
    words = array("I", bytes(part))
    if (magic == _BIG) != (sys.byteorder == "big"):
        words.byteswap()
    first, second = sums
    for index in range(0, len(words), 2):
        first = (first + words[index] + second) & _WORD
        second = (second + words[index + 1] + first) & _WORD
    return first, second
