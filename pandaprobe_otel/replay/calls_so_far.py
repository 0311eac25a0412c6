"""Which calls have ended, and which of them a new one comes after."""

from __future__ import annotations


class CallsSoFar:
    """The order of calls: of those that had ended before one began, the ones that imply all others."""

    def __init__(self) -> None:
        self._ended = 0
        self._implied: dict[int, int] = {}

    def began(self, number: int) -> tuple[int, ...]:
        """Note the beginning of a call; return the calls that it comes after, without those that these imply."""
        rest = self._ended
        found: list[int] = []
        implied = 0
        while rest:
            newest = rest.bit_length() - 1
            found.append(newest)
            implied |= self._implied.get(newest, 0) | 1 << newest
            rest &= ~implied
        self._implied[number] = implied
        return tuple(reversed(found))

    def ended(self, number: int) -> None:
        """Note the end of a call."""
        self._ended |= 1 << number
