"""The new part of a request's body: each request of a conversation begins, and often ends, like the previous one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

_MOST: Final = 8
"""Maximum number of bodies that are compared, newest first, so that this many conversations can run side by side."""
_FEW: Final = 512
"""Maximum number of new bytes for which no other body is compared."""
_STEP: Final = 1024
"""Bytes of the first comparison. The next one has twice as many if they were equal, else half as many."""
_FINEST: Final = 64
"""Minimum number of bytes that are compared."""


class EarlierBodies:
    """The newest request bodies that were scanned. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bodies: deque[bytes] = deque(maxlen=_MOST)

    def add(self, body: bytes) -> None:
        """Add a body."""
        with self._lock:
            self._bodies.append(body)

    def new_part(self, body: bytes) -> tuple[int, int]:
        """Return the start and the end of a body's new part.

        One earlier body starts with everything before the part, and ends with everything after it.
        """
        best = (0, len(body))
        if len(body) <= _FEW:
            return best
        with self._lock:
            earlier = tuple(self._bodies)
        for other in reversed(earlier):
            if body == other:
                return len(body), len(body)
            begin = _same_at_beginning(body, other)
            end = len(body) - _same_at_end(body, other, min(len(body), len(other)) - begin)
            best = min(best, (begin, end), key=_length)
            if _length(best) <= _FEW:
                break
        return best


def _length(part: tuple[int, int]) -> int:
    return part[1] - part[0]


def _same_at_beginning(one: bytes, other: bytes) -> int:
    return _longest(min(len(one), len(other)), lambda low, high: one[low:high] == other[low:high])


def _same_at_end(one: bytes, other: bytes, most: int) -> int:
    size, other_size = len(one), len(other)
    return _longest(
        most, lambda low, high: one[size - high : size - low] == other[other_size - high : other_size - low]
    )


def _longest(most: int, is_same: Callable[[int, int], bool]) -> int:
    """Return the number of equal bytes, at most `most`. The result may be up to `_FINEST` bytes too small."""
    same, step = 0, _STEP
    while step >= _FINEST:
        if same + step <= most and is_same(same, same + step):
            same += step
            step *= 2
        else:
            step //= 2
    return same
