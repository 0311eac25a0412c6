"""A wait for a condition, so that no test waits for a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

PATIENCE_S: Final = 120.0
"""Timeout that only a hanging test reaches, even on a slow machine."""
_LOOK_EVERY_S: Final = 0.005


def wait_until(condition: Callable[[], object], *, what: str = "") -> None:
    """Check repeatedly until the condition is true; fail with `what` if it does not become true."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what or condition}"
        time.sleep(_LOOK_EVERY_S)
