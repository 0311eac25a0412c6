"""The cut that processes of one machine share under overload: a file with two numbers, the cut and its expiry."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from pandaprobe_otel.delivery.budget import CUT_COUNTS_S
from pandaprobe_otel.delivery.spool.boot_clock import boot_clock

_CUT: Final = struct.Struct("<dd")


class CutFile:
    """The highest cut of the last ten minutes. A write replaces the whole file; a lost write is repeated within
    seconds.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = boot_clock) -> None:
        self._path = path
        self._clock = clock

    def publish_cutoff(self, cut: float) -> float:
        """Publish a cut (0: none), and return the highest one. Does not raise."""
        now = self._clock()
        known = self._read(now)
        if cut > 0.0 and cut >= known:
            self._write(cut, now + CUT_COUNTS_S)
        return max(cut, known)

    def _read(self, now: float) -> float:
        try:
            cut, until = _CUT.unpack(self._path.read_bytes())
        except (OSError, struct.error):
            return 0.0
        # A time further ahead comes from another boot of the machine; any other number is damage.
        return cut if 0.0 <= cut <= 1.0 and now < until <= now + CUT_COUNTS_S else 0.0

    def _write(self, cut: float, until: float) -> None:
        with suppress(OSError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
            with os.fdopen(os.open(self._path, flags, 0o600), "wb", buffering=0) as file:
                file.write(_CUT.pack(cut, until))
