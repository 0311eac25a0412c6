"""Clock that all processes of one machine share."""

from __future__ import annotations

import time

_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def boot_clock() -> float:
    """Return the seconds since this machine started, including sleep; equal in all its processes.

    A system without such a clock uses the monotonic one, which differs only by the sleep.
    """
    return time.monotonic() if _BOOTTIME is None else time.clock_gettime(_BOOTTIME)
