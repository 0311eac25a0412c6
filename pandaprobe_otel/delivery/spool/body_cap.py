"""Size of the largest body that a server accepts, learned by earlier processes: one number in a file of the spool."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from pandaprobe_otel.delivery.spool.destination import Destination

MAX_AGE_S: Final = 7 * 24 * 3600.0
"""Time after which the size is learned again: the server or proxy that refused larger bodies may have changed."""


class BodyCap:
    """File with the size, used by the spool's thread. No method raises: at worst, one more request is refused."""

    def __init__(self, folder: Path, destination: Destination) -> None:
        self._path = folder / f"body-cap-{destination.digest}"

    def read(self) -> int | None:
        """Return the size in bytes; None if it is unknown or outdated."""
        try:
            is_recent = abs(time.time() - self._path.stat().st_mtime) < MAX_AGE_S
            return int(self._path.read_text("ascii")) if is_recent else None
        except (OSError, ValueError):
            return None

    def write(self, size: int) -> None:
        """Store the size for later processes."""
        with suppress(OSError):
            # In place, and always with the same length: a kill can leave neither a part of the number nor a draft.
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
            with os.fdopen(os.open(self._path, flags, 0o600), "wb", buffering=0) as file:
                file.write(b"%20d" % size)
