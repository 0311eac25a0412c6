"""Tokens in a file, for all processes that share the directory and for later runs.

The file is a row of 8-byte numbers, one for each token: the time at which the token may be lent again, by `boot_clock`.
A lent token is stored with the latest time at which it can be needed. If its holder dies, only that time is lost. A
time further ahead than the longest hold comes from another boot of the machine, or is damage; it counts as past.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pandaprobe_otel.delivery.budget import (
    MARGIN_S,
    REQUEST_TIMEOUT_S,
    UNANSWERED_EXTRA_S,
    WINDOW_S,
    Tokens,
    boot_clock,
)
from pandaprobe_otel.delivery.spool.lock_file import locked, open_plain

_NUMBER: Final = struct.Struct("<d")
_MOST_TOKENS: Final = 4096
"""Bound on the tokens of a file. A file with more is not ours."""
_RETRY_S: Final = 0.02
"""Wait if the lock was not free or another process was faster."""


class FileTokens(Tokens):
    """The `Tokens` of a `LeasedBucket`, shared through a file.

    No method waits longer than about 20 ms for another process, and none raises. If the file cannot be used, this
    process relies on its own count. It always keeps that count, so that it respects the limit even if the file is
    deleted.
    """

    def __init__(
        self,
        path: Path,
        *,
        window_s: float = WINDOW_S,
        margin_s: float = MARGIN_S,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        clock: Callable[[], float] = boot_clock,
    ) -> None:
        super().__init__()
        self._path = path
        self._hold_s = window_s + margin_s
        self._grace_s = request_timeout_s + UNANSWERED_EXTRA_S
        self._clock = clock
        self._written: dict[int, float] = {}

    def take(self, most: int, now: float) -> int | None:
        """Lend a token: its place in the file, or -1 if the file cannot be used."""
        if super().next_free(most, now) > now:
            return None
        try:
            token = self._take(most)
        except BlockingIOError:
            return None
        except OSError:
            token = -1
        return None if token is None or super().take(most, now) is None else token

    def put_back(self, token: int, wait_s: float, now: float) -> None:
        """Return a token, which may be lent again in `wait_s` seconds."""
        super().put_back(token, wait_s, now)
        if token < 0:
            return
        mine = self._written.pop(token, None)
        try:
            with locked(self._path) as file:
                until = self._clock() + wait_s
                found = self._read(file)
                if token < len(found) and found[token] != mine:  # it was held too long, and was lent again
                    until = max(until, found[token])
                os.pwrite(file, _NUMBER.pack(until), token * _NUMBER.size)
        except OSError:
            return  # it returns by itself

    def next_free(self, most: int, now: float) -> float:
        """Return the time at which `take` may succeed."""
        own = super().next_free(most, now)
        try:
            file = open_plain(self._path, os.O_RDONLY)
        except OSError:
            return own
        try:
            times = self._read(file)
        except OSError:
            return own
        finally:
            os.close(file)
        clock = self._clock()
        taken = sorted(self._earliest(until, clock) for until in times if self._is_taken(until, clock))
        if len(taken) < most:
            return max(own, now + _RETRY_S)
        return max(own, now + max(taken[len(taken) - most] - clock, _RETRY_S))

    # -- the file -----------------------------------------------------------------------------------------------------

    def _take(self, most: int) -> int | None:
        with locked(self._path) as file:
            clock = self._clock()
            times = self._read(file)
            taken = [self._is_taken(until, clock) for until in times]
            if sum(taken) >= most:
                return None
            token = taken.index(False) if False in taken else len(taken)
            until = clock + self._hold_s + self._grace_s
            os.pwrite(file, _NUMBER.pack(until), token * _NUMBER.size)
        self._written[token] = until
        return token

    def _is_taken(self, until: float, clock: float) -> bool:
        return clock < until <= clock + self._hold_s + self._grace_s + 1.0

    def _earliest(self, until: float, clock: float) -> float:
        """Return the earliest time at which a token returns.

        A request under way returns its token earlier than stored if it is answered at once.
        """
        return until - self._grace_s if until > clock + self._hold_s else until

    @staticmethod
    def _read(file: int) -> list[float]:
        raw = os.pread(file, _MOST_TOKENS * _NUMBER.size, 0)
        whole = len(raw) - len(raw) % _NUMBER.size
        return [number for (number,) in _NUMBER.iter_unpack(raw[:whole])]
