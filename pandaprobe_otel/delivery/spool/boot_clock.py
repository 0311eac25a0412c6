"""The clock that all processes of one machine share."""

from __future__ import annotations

import time

_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def boot_clock() -> float:
    """Seconds since this machine started, the time that it slept included; equal in every process on it.

    Where the system has no such clock, the monotonic one: the same, but for the sleep.
    """
    return time.monotonic() if _BOOTTIME is None else time.clock_gettime(_BOOTTIME)
