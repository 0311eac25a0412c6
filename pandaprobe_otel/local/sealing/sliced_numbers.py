"""Columns of numbers as sets of bits: one set of traces for each binary digit.

Comparisons, sums and percentiles then take a few operations per digit, independent of the number of traces, and are
exact (P. O'Neil, D. Quass, "Improved query performance with variant indexes", 1997).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pandaprobe_otel.local.search.searchable_fields import Comparison


@dataclass(frozen=True, slots=True)
class Column:
    """Nonnegative numbers of traces. `known` are the traces that have a number, and `digits` start with the lowest."""

    known: int
    digits: Sequence[int]

    def part(self, low: int, size: int) -> Column:
        """Return a range of the traces as a smaller column."""
        mask = (1 << size) - 1
        return Column(known=self.known >> low & mask, digits=[digit >> low & mask for digit in self.digits])

    def compared(self, comparison: Comparison, value: float, within: int) -> int:
        """Return the traces whose number is less than, greater than or equal to a value."""
        within &= self.known
        if value < 0:
            return within if comparison in (Comparison.MORE, Comparison.AT_LEAST) else 0
        whole = int(value)
        less, equal = self._split(whole, within)
        if whole != value:  # The value lies between two integers.
            less, equal = less | equal, 0
        match comparison:
            case Comparison.EQUAL:
                return equal
            case Comparison.LESS:
                return less
            case Comparison.AT_MOST:
                return less | equal
            case Comparison.MORE:
                return within & ~(less | equal)
            case Comparison.AT_LEAST:
                return within & ~less

    def total(self, within: int) -> int:
        """Return the sum of the numbers of traces."""
        return sum((within & digit).bit_count() << place for place, digit in enumerate(self.digits))

    def ranked(self, rank: int, within: int, others: Sequence[int] = ()) -> int:
        """Return the number at a rank, from 0 for the least, among the numbers of traces and some other numbers."""
        within &= self.known
        left, rest, value = within.bit_count(), list(others), 0
        places = max(len(self.digits), max(rest, default=0).bit_length())
        for place in range(places - 1, -1, -1):
            # Two operations on sets for each digit; the complement of a digit would be a third.
            high = within & self.digits[place] if place < len(self.digits) else 0
            high_left = high.bit_count()
            high_rest = [other for other in rest if other >> place & 1] if rest else rest
            low = left - high_left + len(rest) - len(high_rest)
            if rank < low:
                within, left = within ^ high, left - high_left
                if high_rest:
                    rest = [other for other in rest if not other >> place & 1]
            else:
                rank -= low
                within, left, rest = high, high_left, high_rest
                value |= 1 << place
        return value

    def _split(self, value: int, within: int) -> tuple[int, int]:
        """Return the traces whose number is less than a value, and those whose number equals it."""
        if value.bit_length() > len(self.digits):
            return within, 0
        less, equal = 0, within
        for place in range(len(self.digits) - 1, -1, -1):
            if value >> place & 1:
                less |= equal & ~self.digits[place]
                equal &= self.digits[place]
            else:
                equal &= ~self.digits[place]
        return less, equal
