"""Descriptors that the app may close although they are not its own.

Code that makes a daemon of a process, or cleans up before it goes on, closes every descriptor by number. The numbers
then belong to the app's next files and connections. So compare before each use, and leave a number alone that has
another file: neither write to it nor close it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


class Descriptor:
    """Number of a descriptor, and the identity of its file. Costs a system call for each check."""

    __slots__ = ("_identity", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self._identity = _identity(number)

    @property
    def is_intact(self) -> bool:
        """True if the number still has this file, and where that cannot be known: a socket of Windows is no file."""
        return self._identity is None or self._identity == _identity(self.number)


def descriptors_of(paths: Iterable[Path]) -> list[Descriptor]:
    """Return this process's descriptors of these files; none if the system does not list a process's descriptors."""
    wanted: set[tuple[int, int]] = set()
    found: list[Descriptor] = []
    with suppress(OSError):
        for path in paths:
            about = os.stat(path)
            wanted.add((about.st_dev, about.st_ino))
    with suppress(OSError):
        for name in os.listdir("/dev/fd"):
            with suppress(OSError):  # the descriptor of the listing is closed by now
                about = os.fstat(int(name))
                if (about.st_dev, about.st_ino) in wanted:
                    found.append(Descriptor(int(name)))
    return found


def _identity(number: int) -> tuple[int, int, int] | None:
    try:
        about = os.fstat(number)
    except OSError:
        return None
    return about.st_dev, about.st_ino, stat.S_IFMT(about.st_mode)
