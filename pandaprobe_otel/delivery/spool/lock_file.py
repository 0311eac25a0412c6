"""Locks that the kernel releases when their holder dies, and files that are never links.

A separate file beside the database holds the lock. SQLite has its own locks on the database, which any other descriptor
of the same process would break.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from pandaprobe_otel.process.background import Descriptor

_TRIES: Final = 20
_PAUSE_S: Final = 0.01
_SHORT_PAUSE_S: Final = 0.001


def open_plain(path: Path, flags: int) -> int:
    """Open a file of the spool, which is never a link: somebody else may have planted it. Raises OSError."""
    try:
        file = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            _refuse_link(path, os.lstat(path))
        raise
    try:
        _refuse_link(path, os.fstat(file))
    except PermissionError:
        os.close(file)
        raise
    return file


def refuse_link(path: Path) -> None:
    """Raise PermissionError if a path is a link. For databases, because closing one loses SQLite's locks."""
    _refuse_link(path, os.lstat(path))


def _refuse_link(path: Path, about: os.stat_result) -> None:
    if not stat.S_ISREG(about.st_mode) or about.st_nlink > 1:
        raise PermissionError(errno.EPERM, "is a link, which the spool does not follow", os.fspath(path))


@contextmanager
def locked(path: Path) -> Generator[int]:
    """Open a file and lock it for a moment; create it and its folder if necessary. Waits for at most 20 ms.

    Raises BlockingIOError and other OSErrors. The file is opened each time, because a fork would share the descriptor
    and so the lock.
    """
    try:
        file = open_plain(path, os.O_RDWR | os.O_CREAT)
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = open_plain(path, os.O_RDWR | os.O_CREAT)
    try:
        for attempt in range(_TRIES):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if attempt == _TRIES - 1:
                    raise
                time.sleep(_SHORT_PAUSE_S)
        yield file
    finally:
        os.close(file)


class TakenOverError(OSError):
    """The app closed the descriptor of a lock, and another process took the lock: its file belongs to that process."""


class LockFile:
    """A held lock. It may be taken over from a dead process, never from a living one."""

    def __init__(self, path: Path, file: int) -> None:
        self.path = path
        self._file: Descriptor | None = Descriptor(file)

    @classmethod
    def create(cls, path: Path) -> LockFile | None:
        """Create and lock a new file; return None if the name is taken. Raises OSError."""
        try:
            file = open_plain(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            return None
        return cls._locked(path, file)

    @classmethod
    def take(cls, path: Path) -> LockFile | None:
        """Lock a file, which may exist; return None if its owner lives. Raises OSError."""
        return cls._locked(path, open_plain(path, os.O_RDWR | os.O_CREAT))

    @classmethod
    def _locked(cls, path: Path, file: int) -> LockFile | None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found, mine = os.stat(path), os.fstat(file)
        except OSError:  # held by its owner, or deleted in the meantime
            os.close(file)
            return None
        if (found.st_dev, found.st_ino) != (mine.st_dev, mine.st_ino):  # deleted, and replaced by another file
            os.close(file)
            return None
        return cls(path, file)

    @property
    def is_held(self) -> bool:
        """True unless the app has closed the descriptor, and so released the lock."""
        return self._file is not None and self._file.is_intact

    def hold_again(self) -> None:
        """Take the lock again after the app has closed its descriptor. Raises TakenOverError and other OSErrors."""
        for _ in range(_TRIES):
            if (again := self.take(self.path)) is not None:
                self._file = again._file
                return
            time.sleep(_PAUSE_S)  # while the app closes a range, the kernel releases locks only at the end of it
        raise TakenOverError("another process has taken it over")

    def note(self, text: bytes) -> None:
        """Write a note about the holder, for people who inspect the directory. A failure does not matter."""
        if self._file is not None and self._file.is_intact:
            with suppress(OSError):
                os.pwrite(self._file.number, text, 0)
                os.ftruncate(self._file.number, len(text))

    def remove(self) -> None:
        """Delete the file, then release it."""
        with suppress(OSError):
            os.unlink(self.path)
        self.close()

    def close(self) -> None:
        """Release the lock; in a forked child, close it without releasing the parent's lock."""
        file, self._file = self._file, None
        if file is not None and file.is_intact:
            with suppress(OSError):
                os.close(file.number)
