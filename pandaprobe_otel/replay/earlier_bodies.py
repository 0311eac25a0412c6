"""The part of a body that is new: each request of a conversation begins, and often ends, as the one before it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

_MOST: Final = 8
"""Bodies that are compared, the newest first: those of as many conversations side by side."""
_FEW: Final = 512
"""New bytes that are few enough to look no further."""
_STEP: Final = 1024
"""Bytes that are compared first: twice as many if they are the same, half of them if not, until there are too few."""
_FINEST: Final = 64


class EarlierBodies:
    """The last bodies of which something is known. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bodies: deque[bytes] = deque(maxlen=_MOST)

    def add(self, body: bytes) -> None:
        """Remember a body."""
        with self._lock:
            self._bodies.append(body)

    def new_part(self, body: bytes) -> tuple[int, int]:
        """Return the place where the new part of a body begins, and the one where it ends.

        All before and all after it is in one earlier body, at its beginning and at its end.
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
    """Return how many bytes are the same, of these at most; a few less if that is not worth another look."""
    same, step = 0, _STEP
    while step >= _FINEST:
        if same + step <= most and is_same(same, same + step):
            same += step
            step *= 2
        else:
            step //= 2
    return same
