"""Waiting for something to become true, so that no test waits for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

PATIENCE_S: Final = 60.0
"""Only what hangs takes so long, on however slow a machine."""
_LOOK_EVERY_S: Final = 0.005


def wait_until(condition: Callable[[], object], *, what: str = "") -> None:
    """Look again and again until it is true; fail, saying what was waited for, when it never becomes so."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what or condition} did not come about in {PATIENCE_S:g} s"
        time.sleep(_LOOK_EVERY_S)
