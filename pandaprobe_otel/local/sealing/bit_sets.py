"""Sets of traces as Python integers: bit n is trace n, so that one operation combines two sets."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import repeat

CHUNK = 4096
"""Bits per stored part. A change writes half a kilobyte, and a set of 100,000 traces has 25 parts."""


def bits_of(numbers: Iterable[int], size: int) -> int:
    """Return the set of numbers below `size`."""
    digits = bytearray(b"0") * max(size, 1)
    # A deque that keeps nothing runs the assignments twice as fast as a loop (half of all traces may have a word).
    deque(map(digits.__setitem__, numbers, repeat(49)), maxlen=0)
    digits.reverse()
    return int(digits, 2)


def numbers_of(bits: int) -> list[int]:
    """Return the numbers of a set, in ascending order."""
    digits = f"{bits:b}"[::-1]
    found: list[int] = []
    at = digits.find("1")
    while at >= 0:
        found.append(at)
        at = digits.find("1", at + 1)
    return found


def last_of(bits: int, most: int) -> list[int]:
    """Return the greatest numbers of a set, in descending order, up to a limit."""
    digits = f"{bits:b}"
    found: list[int] = []
    at = digits.find("1")
    while at >= 0 and len(found) < most:
        found.append(len(digits) - 1 - at)
        at = digits.find("1", at + 1)
    return found


def joined(parts: Iterable[tuple[int, bytes]], chunks: int) -> int:
    """Return the set that consists of stored parts, each with its number; there are fewer than `chunks`."""
    whole = bytearray(chunks * CHUNK // 8)
    for number, part in parts:
        at = number * CHUNK // 8
        whole[at : at + len(part)] = part
    return int.from_bytes(whole, "little")
